//! Reads `[gateway]`.

use std::path::PathBuf;
use std::time::Duration;

use super::address::{self, Listen};
use super::quantities;
use super::report::{EnvLookup, Flaw, Report};
use super::secret;
use super::section::{Section, Title};
use super::settings::{AdminToken, Gateway, Scope};
use super::tree::{Entry, Node, Value};
use super::values::{self, Word};

/// The port of the admin side when nothing is said.
const ADMIN_PORT: u16 = 9900;

/// The port of HTTP visitors when nothing is said.
const HTTP_PORT: u16 = 8080;

const SCOPES: [Word<Scope>; 3] =
    [("read", Scope::Read), ("operate", Scope::Operate), ("admin", Scope::Admin)];

impl Gateway {
    /// The gateway of a configuration that says nothing about it.
    pub(crate) fn standard(env: EnvLookup<'_>) -> Self {
        Self {
            http: vec![Listen::Everywhere(HTTP_PORT)],
            admin: vec![Listen::At(([127, 0, 0, 1], ADMIN_PORT).into())],
            admin_tokens: Vec::new(),
            state: state_folder(env),
            trusted_proxies: Vec::new(),
            drain: Duration::from_secs(30),
        }
    }
}

pub(crate) fn read(entry: Option<&Entry>, report: &mut Report<'_>) -> Gateway {
    let mut gateway = Gateway::standard(report.env);
    let Some(entry) = entry else { return gateway };
    let Some(mut section) = Section::open(entry, &Title::new("gateway"), report) else {
        return gateway;
    };
    if let Some(http) = section.read_list(report, "http", address::listen) {
        gateway.http = http;
    }
    if let Some(admin) = section.read_list(report, "admin", address::listen_or_unix) {
        gateway.admin = admin;
    }
    let env = report.env;
    if let Some(tokens) = section.read_list(report, "admin_tokens", |node| token(node, env)) {
        gateway.admin_tokens = tokens;
    }
    if let Some(state) = section.read(report, "state", values::path) {
        gateway.state = state;
    }
    if let Some(proxies) = section.read_list(report, "trusted_proxies", address::network) {
        gateway.trusted_proxies = proxies;
    }
    if let Some(drain) = section.read(report, "drain", quantities::duration_or_zero) {
        gateway.drain = drain;
    }
    section.not_yet(report, &["https"]);
    refuse_open_admin(&gateway, &section, report);
    section.close(report);
    gateway
}

/// An admin side that others can reach needs a token.
fn refuse_open_admin(gateway: &Gateway, section: &Section<'_>, report: &mut Report<'_>) {
    let Some(open) = gateway.admin.iter().find(|listen| !listen.is_local()) else {
        return;
    };
    if !gateway.admin_tokens.is_empty() {
        return;
    }
    let Some(entry) = section.peek("admin") else {
        return;
    };
    let flaw = Flaw::new(format!("lets anybody who can reach {open} in without a token"))
        .slug("open-admin")
        .hint("listen on 127.0.0.1 or a unix socket, or set admin_tokens");
    section.flaw(report, entry, flaw);
}

fn token(node: &Node, env: EnvLookup<'_>) -> Result<AdminToken, Flaw> {
    let Value::Table(entries) = &node.value else {
        return Err(values::wrong_kind("a table such as { token = { env = \"X\" } }", node));
    };
    let mut token = None;
    let mut scope = Scope::Admin;
    for entry in entries {
        match entry.key.as_str() {
            "token" => {
                let read = secret::secret(&entry.node, env);
                token = Some(read.map_err(|flaw| flaw.or_at(&entry.node.spot))?);
            }
            "scope" => {
                scope = values::word(&entry.node, &SCOPES)
                    .map_err(|flaw| flaw.or_at(&entry.node.spot))?;
            }
            _ => {
                let flaw = Flaw::new("has a token with an unknown key").at(&entry.spot);
                return Err(flaw.slug("unknown-key").hint("the keys here are token, scope"));
            }
        }
    }
    let token = token.ok_or_else(|| Flaw::new("has an entry without `token`"))?;
    Ok(AdminToken { token, scope })
}

/// The XDG state folder.
fn state_folder(env: EnvLookup<'_>) -> PathBuf {
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map_or_else(|| PathBuf::from("/var/lib/dormouse"), |state| state.join("dormouse"))
}
