//! The file as a whole: the reference is complete, and every finding stands at its place.

use proptest::prelude::*;

use super::check::{Form, all_findings, list, render};
use super::*;

fn no_env(_: &str) -> Option<String> {
    None
}

/// A folder of files, the first of which is loaded.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn load(&self) -> Loaded {
        load_with(&self.0.path().join("dormouse.toml"), &|name| {
            (name == "PRESENT").then(|| "canary".to_owned())
        })
    }

    fn rendered(&self) -> String {
        let loaded = self.load();
        let text = render(&all_findings(&loaded), &loaded.sources, Form::Plain);
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn load_text(text: &str) -> Loaded {
    Files::new(&[("dormouse.toml", text)]).load()
}

fn good(text: &str) -> Settings {
    let loaded = load_text(text);
    assert_eq!(loaded.findings, []);
    loaded.settings.unwrap()
}

/// What is said about `text`, as a person sees it, compared with the snapshot `case`.
#[track_caller]
fn check(case: &str, text: &str) {
    check_files(case, &[("dormouse.toml", text)]);
}

#[track_caller]
fn check_files(case: &str, files: &[(&str, &str)]) {
    let rendered = Files::new(files).rendered();
    assert!(!rendered.is_empty(), "{case}: nothing was found");
    insta::assert_snapshot!(case, rendered);
}

#[test]
fn the_default_file_says_what_holds_without_a_file() {
    let loaded = load_text(DEFAULT_FILE);
    assert_eq!(loaded.findings, []);
    assert_eq!(loaded.settings.unwrap(), Settings::standard(&no_env, true));
}

/// The default file with every line that is `#` and a setting made that setting, once for each
/// probe of readiness that it shows, for only one of them can hold.
fn uncommented() -> Vec<String> {
    let is_setting = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let setting = |line: &'static str| line.strip_prefix('#').filter(is_setting).unwrap_or(line);
    let text: Vec<&str> = DEFAULT_FILE.lines().map(setting).collect();
    let text = text.join("\n").replace("unix:///var/run/docker.sock", "https://engine.lan:2376");
    let (defaults, workloads) = text.split_once("[defaults.loading]").unwrap();
    let probes: Vec<&str> = defaults.lines().filter(|line| line.starts_with("ready =")).collect();
    assert_eq!(probes.len(), 4);
    let with_probe = |probe: &&str| {
        let others = defaults.lines().filter(|line| !line.starts_with("ready =") || line == probe);
        format!("{}\n[defaults.loading]{workloads}", others.collect::<Vec<_>>().join("\n"))
    };
    probes.iter().map(with_probe).collect()
}

#[test]
fn the_default_file_names_every_key_with_a_value_that_is_legal() {
    let pem = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    let env = |_: &str| Some("canary".to_owned());
    let mut named: BTreeMap<String, bool> = BTreeMap::new();
    for text in uncommented() {
        let pems = ["ca.pem", "cert.pem", "key.pem"].map(|name| (name, pem));
        let files = Files::new(&[&[("dormouse.toml", text.as_str())], &pems[..]].concat());
        let mut report = Report::new(&env);
        let read = include::read_all(&files.0.path().join("dormouse.toml"), &mut report);
        settings::read(read.entries, &mut report);
        for (key, there) in report.asked() {
            *named.entry(key.clone()).or_default() |= there;
        }
        assert_eq!(report.into_findings(), []);
    }
    // What can be said of all workloads is explained once, under [defaults].
    let explained = |key: &str| {
        let default = key.strip_prefix("workload.*.").map(|key| format!("defaults.{key}"));
        named[key] || default.is_some_and(|key| named.get(&key) == Some(&true))
    };
    let missing: Vec<&String> = named.keys().filter(|key| !explained(key)).collect();
    assert!(missing.is_empty(), "the default file does not name {missing:?}");
    assert!(named.len() > 60, "the test follows too few keys: {named:?}");
}

#[test]
fn the_contracts_example_is_read_but_for_what_is_not_supported_yet() {
    check(
        "contract",
        r#"include = ["conf.d/*.toml"]
[gateway]
http  = ":8080"
https = ":8443"
admin = "127.0.0.1:9900"
state = "/var/lib/dormouse"
trusted_proxies = ["10.0.0.0/8"]
drain = "30s"
[defaults]
idle_timeout = "30m"
[environment.local]
docker = "unix:///var/run/docker.sock"
labels = true
token = { env = "PRESENT" }
[environment.pve]
proxmox = "https://pve.lan:8006"
[workload.db]
target = "local/db"
[workload.cache]
target = "local/cache"
[workload.migrate]
target = "local/migrate"
[workload.blog]
target = "local/blog"
hosts  = ["blog.example.com", "example.com/blog"]
port   = 8080
scheme = "http"
routes = [{ host = "api.example.com", port = 9090 }]
tcp    = [{ listen = ":2222", port = 22 }]
udp    = [{ listen = ":19132", port = 19132 }]
idle_timeout = "20m"
wake_timeout = "60s"
rest = "stop"
stop_signal = "SIGTERM"
stop_timeout = "10s"
on_rest_failure = "keep"
adopt = "keep"
needs = ["db", "cache:started", "migrate:completed"]
ready = { http = "/health", status = "200-399" }
wake  = { only = ["/start"], ignore = ["/metrics"], auth = "forward" }
loading = { page = true, theme = "dormouse", title = "Blog", refresh = "2s", status = 503 }
held = { requests = 1000, bytes = "8MiB", per_client = 64 }
awake  = ["Mon-Fri 07:00-19:00 Europe/Berlin"]
asleep = ["00:00-06:00"]
connection_idle = "never"
[watch.homeassistant]
probe = "http://ha.lan:8123/api"
"#,
    );
}

#[test]
fn every_finding_is_told_at_once_and_at_its_place() {
    let cases = [
        (
            "unknown-keys",
            "[gatway]\n[gateway]\nadmn = 1\n[defaults]\nidle_timout = \"3m\"\nzzz = 1\n\
             [defaults.held]\nper_cleint = 3\n",
        ),
        (
            "durations",
            "[defaults]\nidle_timeout = 0\nwake_timeout = 90\nstop_timeout = \"ten\"\n\
             drain_timeout = \"never\"\n[gateway]\ndrain = \"30m1h\"\n",
        ),
        ("zero-text", "[defaults]\nidle_timeout = \"0\"\nwake_timeout = \"0s\"\n"),
        (
            "zero-idle",
            "[defaults]\nidle_timeout = \"0s\"\n[defaults.loading]\nrefresh = \"1500ms\"\n",
        ),
        ("sizes", "[defaults.held]\nbytes = 8388608\nrequests = 0\nper_client = 1.5\n"),
        ("size-unit", "[defaults.held]\nbytes = \"8 MegaByte\"\n"),
        (
            "words",
            "[defaults]\nrest = \"pasue\"\non_rest_failure = \"explode\"\nadopt = true\n\
             [defaults.loading]\ntheme = \"dark\"\nstatus = 418\n",
        ),
        (
            "not-yet-words",
            "[defaults]\nrest = \"snapshot\"\non_rest_failure = \"destroy\"\n\
             [environment.local]\ndocker = \"unix:///x\"\nlabels = [\"dormouse\", \"godoxy\"]\n\
             [workload.a]\ntarget = \"local/a\"\nscheme = \"https\"\n",
        ),
        (
            "addresses",
            "[gateway]\nhttp = [\":80800\", \"localhost:80\"]\nadmin = \"9900\"\n\
             trusted_proxies = [\"10.0.0.0/33\", \"fd00::/8\", \"10.0.0.1\"]\n",
        ),
        ("open-admin", "[gateway]\nadmin = \"0.0.0.0:9900\"\n"),
        (
            "engines",
            "[environment.a]\ndocker = \"unix://var/run/docker.sock\"\n\
             [environment.b]\ndocker = \"https://engine.lan\"\n\
             [environment.c]\ndocker = \"ssh://-oProxyCommand=x\"\n\
             [environment.d]\nlabels = true\n\
             [environment.e]\nprocess = true\ndocker = \"unix:///x\"\n\
             [environment.f]\nprocess = true\nlabels = true\n\
             [environment.g]\ndocker = \"unix:///x\"\ntls = { cert = \"none.pem\" }\n\
             [environment.\"h/h\"]\ndocker = \"gopher://h:1\"\n",
        ),
        (
            "secrets",
            "[environment.a]\ndocker = \"http://h:1\"\ntoken = { env = \"ABSENT\" }\n\
             [environment.b]\ndocker = \"http://h:1\"\ntoken = { file = \"/nowhere/token\" }\n\
             [environment.c]\ndocker = \"http://h:1\"\ntoken = { vault = \"x\" }\n\
             [environment.d]\ndocker = \"http://h:1\"\ntoken = 1234\n",
        ),
        (
            "readiness",
            "[workload.a]\ncommand = [\"a\"]\nready = { http = \"health\", status = \"399-200\" }\n\
             [workload.b]\ncommand = [\"b\"]\nready = { tcp = true, engine = true }\n\
             [workload.c]\ncommand = [\"c\"]\nready = { tcp = false }\n\
             [workload.d]\ncommand = [\"d\"]\nready = { status = \"200\", grcp = \"\" }\n",
        ),
        (
            "homes",
            "[environment.local]\ndocker = \"unix:///x\"\n[environment.jobs]\nprocess = true\n\
             [workload.a]\nport = 80\n[workload.b]\ntarget = \"lcoal/b\"\n\
             [workload.c]\ntarget = \"c\"\n[workload.d]\ntarget = \"local/d\"\ncommand = [\"d\"]\n\
             [workload.e]\ncommand = \"./e --port 80\"\n[workload.f]\ncommand = []\n\
             [workload.g]\ncommand = [\"g\"]\nenvironment = \"local\"\n\
             [workload.h]\ntarget = \"jobs/h\"\n[workload.i]\ntarget = \"local/i/j\"\n\
             [workload.\"j k\"]\ntarget = \"local/j\"\n[workload.l]\ntarget = \"local/l\"\nenv = { A = \"1\" }\n",
        ),
        (
            "routes",
            "[workload.a]\ncommand = [\"a\"]\nhosts = [\"http://a.example.com\", \"a b\"]\nport = 0\n\
             routes = [{ port = 70000 }, { host = \"b.example.com\", prot = 1 }, 3]\n",
        ),
        (
            "listeners",
            "[gateway]\nhttp = \":8080\"\nadmin = \"127.0.0.1:9900\"\n\
             [workload.a]\ncommand = [\"a\"]\ntcp = [{ listen = \"2222\", port = 0 }, { lisen = \":1\" }, 3]\n\
             udp = { listen = \":1\", port = 1 }\n\
             [workload.b]\ncommand = [\"b\"]\nhosts = [\"b.example.com\"]\n\
             tcp = [{ listen = \"/run/b.sock\", port = 1 }, { listen = \":0\", port = 1 }, { listen = \":1\", port = 1 }]\n",
        ),
        (
            "listeners-taken",
            "[gateway]\nhttp = \":8080\"\nadmin = \"127.0.0.1:9900\"\n\
             [workload.a]\ncommand = [\"a\"]\nudp = [{ listen = \":8080\", port = 1 }]\n\
             tcp = [{ listen = \"127.0.0.1:8080\", port = 1 }, { listen = \":9900\", port = 1 }, { listen = \":2222\", port = 1 }]\n\
             [workload.b]\ncommand = [\"b\"]\ntcp = [{ listen = \"[::1]:2222\", port = 1 }]\n\
             udp = [{ listen = \":8080\", port = 1 }]\n",
        ),
        ("needs", "[workload.a]\ncommand = [\"a\"]\nneeds = [\"bb:startd\", \"c c\", \"d\", 3]\n"),
        (
            "unknown-need",
            "[workload.a]\ncommand = [\"a\"]\nneeds = [\"databse\"]\n[workload.database]\ncommand = [\"d\"]\n",
        ),
        (
            "cycle",
            "[workload.a]\ncommand = [\"a\"]\nneeds = [\"b\"]\n[workload.b]\ncommand = [\"b\"]\n\
             needs = [\"c\"]\n[workload.c]\ncommand = [\"c\"]\nneeds = [\"a\"]\n\
             [workload.d]\ncommand = [\"d\"]\nneeds = [\"d\"]\n[workload.e]\ncommand = [\"e\"]\nneeds = [\"a\"]\n",
        ),
        (
            "duplicates",
            "[environment.local]\ndocker = \"unix:///x\"\n\
             [workload.a]\ntarget = \"local/x\"\nhosts = [\"x.example.com\", \"X.example.com\"]\n\
             [workload.b]\ntarget = \"local/x\"\nhosts = [\"x.example.com\", \"y.example.com\"]\n",
        ),
        ("signals", "[defaults]\nstop_signal = \"SIGTREM\"\n"),
        ("kinds", "gateway = 1\n[defaults]\nloading = \"on\"\nheld = []\nready = 1979-05-27\n"),
        ("before-syntax", "[gateway]\nadmn = 1\n[workload.a]\nidle_timeout = \"\n"),
        ("syntax", "[gateway]\nhttp = :8080\ndrain = \"30s\n[defaults\nrest = \"stop\"\n"),
        ("twice", "[gateway]\ndrain = \"1s\"\ndrain = \"2s\"\n"),
        ("tabs-and-wide", "[defaults]\n\t# 日本語\n\"日本語\" = 1\n\tresst = \"stop\"\n"),
        ("at-the-end", "[workload.a]"),
        (
            "watches",
            "[watch.a]\nprobe = \"htps://ha.lan/api\"\n[watch.b]\nprob = \"tcp://b:1\"\n\
             [watch.c]\nprobe = \"tcp://c\"\nstatus = \"200\"\n\
             [watch.d]\nprobe = \"tcp://d:1\"\nstatus = \"200\"\nbody = \"x\"\ntls = { insecure = true }\n\
             [watch.e]\nprobe = \"http://me:canary@e/\"\n[watch.f]\nprobe = \"f.lan:80\"\n\
             [watch.g]\nprobe = { command = \"check --all\" }\n[watch.h]\nprobe = { comand = [\"x\"] }\n\
             [watch.\"i/j\"]\nprobe = \"dns://i\"\n[watch.k]\nprobe = 80\n",
        ),
        (
            "watch-policies",
            "[watch.a]\nprobe = \"dns://a\"\nmultiplier = 0.5\nfall = 0\nrise = \"2\"\n\
             max_retries = 1.5\npoll_interval = 60\nprobe_timeout = \"30d\"\n\
             [watch.b]\nprobe = \"dns://b\"\ninitial_delay = \"2m\"\n\
             [watch.c]\nprobe = \"dns://c\"\nmax_delay = \"1s\"\n\
             [watch.d]\nprobe = \"dns://d\"\nmultiplier = \"2\"\npoll_intervall = \"1s\"\n",
        ),
        (
            "watch-hooks",
            "[watch.a]\nprobe = \"dns://a\"\non_ready = \"tcp://x:1\"\non_down = { env = \"PRESENT\" }\n\
             [watch.b]\nprobe = \"dns://b\"\non_ready = { command = [] }\non_down = { env = \"ABSENT\" }\n\
             [watch.c]\nprobe = \"dns://c\"\non_ready = { url = \"http://x\" }\non_down = 3\n",
        ),
    ];
    for (case, text) in cases {
        check(case, text);
    }
}

#[test]
fn a_watch_says_what_it_probes_when_and_what_follows() {
    let settings = good(
        "[watch.ha]\nprobe = \"https://ha.lan:8123/api\"\nstatus = 200\nbody = \"running\"\n\
         initial_delay = \"1s\"\nmultiplier = 1.5\nmax_retries = 3\nfall = 4\n\
         on_ready = { command = [\"notify\", \"up\"] }\non_down = \"http://alerts.lan/canary\"\n\
         [watch.db]\nprobe = { command = [\"pg_isready\"] }\n",
    );
    let ha = &settings.watches["ha"];
    assert_eq!(ha.target.to_string(), "https://ha.lan:8123/api");
    assert_eq!((ha.status.clone(), ha.body.as_deref()), (200..=200, Some("running")));
    let wanted = crate::watch::Settings {
        initial_delay: std::time::Duration::from_secs(1),
        multiplier: 1.5,
        max_retries: 3,
        fall: 4,
        ..crate::watch::Settings::default()
    };
    assert_eq!(Ok(ha.policy), wanted.validated());
    assert_eq!(ha.on_ready, Some(HookSpec::Command(vec!["notify".into(), "up".into()])));
    assert_eq!(ha.on_down, Some(HookSpec::Webhook(Secret::new("http://alerts.lan/canary"))));
    // The URL of a webhook is often its own password.
    assert!(!format!("{ha:?}").contains("canary"));
    let db = &settings.watches["db"];
    assert_eq!(db.policy, crate::watch::Policy::default());
    assert_eq!(db.on_down, None);
}

#[test]
fn the_example_of_watches_is_a_good_file() {
    let settings = good(include_str!("../../../../examples/watches/dormouse.toml"));
    assert_eq!(settings.watches.len(), 4);
}

#[test]
fn included_files_are_laid_together() {
    let files = Files::new(&[
        (
            "dormouse.toml",
            "include = [\"conf.d/*.toml\", \"extra.toml\"]\n[gateway]\ndrain = \"5s\"\n",
        ),
        ("conf.d/b.toml", "[workload.b]\ncommand = [\"b\"]\n"),
        (
            "conf.d/a.toml",
            "include = \"*.toml\"\n[workload.a]\ncommand = [\"a\"]\nfolder = \"work\"\n",
        ),
        ("conf.d/ignored.txt", "not toml"),
        (
            "extra.toml",
            "include = \"dormouse.toml\"\n[gateway]\nhttp = \":81\"\n[defaults]\nrest = \"pause\"\n",
        ),
    ]);
    let loaded = files.load();
    assert_eq!(loaded.findings, []);
    let settings = loaded.settings.unwrap();
    let names: Vec<&str> = settings.workloads.iter().map(|draft| draft.id.name()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(settings.gateway.http, [Listen::Everywhere(81)]);
    assert_eq!(settings.gateway.drain.as_secs(), 5);
    let rests = settings.workloads.iter().map(|draft| draft.treatment.policy.rest.as_str());
    assert_eq!(rests.collect::<Vec<_>>(), ["pause", "pause"]);
    let folder = settings.workloads[0].launch.as_ref().unwrap().folder.clone();
    assert_eq!(folder.unwrap(), files.0.path().join("conf.d/work"));
    let read = loaded.files.iter().map(|path| path.strip_prefix(files.0.path()).unwrap());
    let read: Vec<String> = read.map(|path| path.display().to_string()).collect();
    assert_eq!(read, ["dormouse.toml", "conf.d/a.toml", "conf.d/b.toml", "extra.toml"]);
    assert!(loaded.folders.contains(&files.0.path().join("conf.d")));
}

#[test]
fn included_files_have_findings_of_their_own() {
    check_files(
        "included",
        &[
            (
                "dormouse.toml",
                "include = [\"conf.d/*.toml\", \"gone.toml\", 3, \"***\"]\n[gateway]\ndrain = \"5s\"\n",
            ),
            ("conf.d/a.toml", "[workload.a]\ncommand = [\"a\"]\n[gateway]\ndrain = \"6s\"\n"),
            ("conf.d/b.toml", "[workload.a]\ncommand = [\"a\"]\nprot = 1\n"),
        ],
    );
}

#[test]
fn a_file_that_is_not_there_is_a_finding() {
    let loaded = load_with(std::path::Path::new("/nowhere/dormouse.toml"), &no_env);
    assert!(loaded.settings.is_none());
    assert_eq!(loaded.findings.len(), 1);
    assert_eq!(loaded.findings[0].slug, "unreadable-file");
    assert_eq!(loaded.files.len(), 1);
}

#[test]
fn secrets_are_read_and_not_shown() {
    let settings = good(
        "[gateway]\nadmin = [\":9900\", \"/run/d.sock\"]\n\
         admin_tokens = [{ token = { env = \"PRESENT\" }, scope = \"read\" }]\n",
    );
    let token = &settings.gateway.admin_tokens[0];
    assert_eq!((token.token.reveal(), token.scope), ("canary", Scope::Read));
    assert!(!format!("{settings:?}").contains("canary"));
    assert_eq!(settings.gateway.admin[1], Listen::Unix("/run/d.sock".into()));
}

#[test]
fn processes_have_an_environment_without_being_given_one() {
    let settings =
        good("[workload.a]\ncommand = [\"a\", \"$PORT\"]\nport = 81\nenv = { A = \"1\" }\n");
    let name = dormouse_core::EnvironmentName::new("process");
    assert_eq!(settings.environments[&name].kind, EnvironmentKind::Process);
    let launch = settings.workloads[0].launch.clone().unwrap();
    assert_eq!((launch.command.len(), launch.port), (2, Some(81)));
    assert_eq!(launch.env["A"], "1");
    let same = good("[workload.a]\ncommand = [\"a\"]\nenvironment = \"process\"\n");
    assert_eq!(same.environments, settings.environments);
}

#[test]
fn findings_for_programs_have_lines_and_columns() {
    let files =
        Files::new(&[("dormouse.toml", "[defaults]\n  \"é\" = 1\n\n  idle_timout = \"3m\"\n")]);
    let loaded = files.load();
    let list = list(&loaded.findings, &loaded.sources);
    let places: Vec<_> =
        list.findings.iter().map(|f| (f.slug, f.line, f.column, f.end_column)).collect();
    assert_eq!(
        places,
        [("unknown-key", Some(2), Some(3), Some(6)), ("unknown-key", Some(4), Some(3), Some(14))]
    );
    let json = serde_json::to_value(&list).unwrap();
    assert_eq!(json["findings"][1]["hint"], "did you mean `idle_timeout`?");
    assert_eq!(json["findings"][1]["severity"], "error");
    assert!(json["findings"][1].get("workload").is_none());
}

#[test]
fn check_answers_with_an_exit_code() {
    let code = |text: &str, form| {
        let files = Files::new(&[("dormouse.toml", text)]);
        let mut out = Vec::new();
        let code = check::run(Some(&files.0.path().join("dormouse.toml")), form, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    };
    let (good, text) = code("[gateway]\n", Form::Plain);
    assert_eq!((good, text.ends_with("dormouse.toml: good\n")), (check::EXIT_GOOD, true));
    let (bad, text) = code("x = 1\ny = 2\n", Form::Plain);
    assert_eq!((bad, text.ends_with("dormouse.toml: 2 errors\n")), (check::EXIT_INVALID, true));
    assert!(!text.contains('\u{1b}'));
    assert!(code("x = 1\n", Form::Colour).1.contains('\u{1b}'));
    let (bad, text) = code("x = 1\n", Form::Json);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((bad, json["findings"].as_array().unwrap().len()), (check::EXIT_INVALID, 1));
    let cycle = "[workload.a]\ncommand = [\"a\"]\nneeds = [\"a\"]\n";
    assert_eq!(code(cycle, Form::Plain).0, check::EXIT_INVALID);
}

#[test]
fn an_error_does_not_hide_how_workloads_clash() {
    let loaded = load_text(
        "x = 1\n[workload.a]\ncommand = [\"a\"]\nneeds = [\"a\", \"b\"]\n[workload.b]\nprot = 1\n",
    );
    let slugs: Vec<&str> = loaded.findings.iter().map(|finding| finding.slug).collect();
    assert_eq!(slugs, ["unknown-key", "cycle", "missing-key", "unknown-key"]);
    assert!(loaded.settings.is_none());
}

#[test]
fn many_findings_are_bounded() {
    let text: String = (0..5000).map(|number| format!("key{number} = 1\n")).collect();
    let loaded = load_text(&text);
    assert_eq!(loaded.findings.len(), 1001);
    assert!(loaded.findings.iter().any(|finding| finding.message.starts_with("4000 more")));
}

/// Lines that look like a configuration, so that random texts get past the first character.
fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        "[a-z_]{1,12}",
        Just("hosts".to_owned()),
        Just("ready".to_owned()),
        Just("routes".to_owned()),
        Just("needs".to_owned()),
        Just("command".to_owned()),
        Just("target".to_owned()),
        Just("include".to_owned()),
        Just("docker".to_owned()),
        Just("labels".to_owned()),
        Just("idle_timeout".to_owned()),
        Just("admin".to_owned()),
        Just("bytes".to_owned()),
        Just("status".to_owned()),
    ];
    let value = prop_oneof![
        "\"\\PC{0,20}\"",
        "[0-9]{1,25}[smh]{0,1}",
        "\"[0-9]{1,22}[a-zA-Z]{0,3}\"",
        "\"[a-z]{0,5}://\\PC{0,12}\"",
        "\\[[\"a-z, {}=]{0,20}\\]",
        "\\{ [a-z]{1,6} = [\"a-z0-9]{1,8} \\}",
        Just("true".to_owned()),
        Just("1979-05-27".to_owned()),
    ];
    let table = prop_oneof![
        Just("[gateway]".to_owned()),
        Just("[defaults]".to_owned()),
        Just("[defaults.held]".to_owned()),
        Just("[defaults.ready]".to_owned()),
        Just("[workload.a]".to_owned()),
        Just("[environment.a]".to_owned()),
        Just("[[workload.a.routes]]".to_owned()),
        "\\[[a-z.\" ]{0,12}\\]",
    ];
    prop_oneof![
        4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => table,
        1 => "\\PC{0,30}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(lines in prop::collection::vec(line(), 0..20)) {
        let text = lines.join("\n");
        let files = Files::new(&[("dormouse.toml", &text)]);
        let rendered = files.rendered();
        let loaded = files.load();
        let bad = loaded.findings.iter().any(Finding::is_error);
        prop_assert_eq!(bad, loaded.settings.is_none());
        prop_assert_eq!(rendered.is_empty(), all_findings(&loaded).is_empty());
        list(&loaded.findings, &loaded.sources);
    }
}
