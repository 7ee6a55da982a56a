//! The reference pages under `docs/reference` say what the code says. To write them anew, run this
//! test with the env var `UPDATE_DOCS=1`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dormouse::cli::slugs;
use dormouse::config::DEFAULT_FILE;
use dormouse::metrics::FAMILIES;
use dormouse_wire::Exit;
use prometheus_client::metrics::MetricType;
use serde_json::Value;

#[test]
fn the_reference_says_what_the_code_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let update = std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1");
    let pages = [
        ("cli.md", cli()),
        ("api.md", api()),
        ("metrics.md", metrics()),
        ("errors.md", errors()),
        ("config.md", config()),
    ];
    let mut drifted = Vec::new();
    for (name, page) in pages {
        let path: PathBuf = folder.join(name);
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &page).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != page {
            drifted.push(name);
        }
    }
    assert!(drifted.is_empty(), "run with UPDATE_DOCS=1, and look at {drifted:?}");
}

fn cli() -> String {
    let mut page = head("Command line", "`dormouse VERB --help` says the same.");
    page.push_str("## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for exit in Exit::ALL {
        writeln!(page, "| {} | {} |", exit.code(), exit.meaning()).unwrap();
    }
    let mut command = dormouse::cli::command().term_width(100);
    command.build();
    for verb in command.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
        let name = verb.get_name().to_owned();
        let help = verb.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(page, "\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end()).unwrap();
    }
    page
}

fn metrics() -> String {
    let about = "What `GET /metrics` tells, in the text format of OpenMetrics. The series of a \
                 workload go with it.";
    let mut page = head("Metrics", about);
    page.push_str("| metric | type | labels | what it tells |\n|---|---|---|---|\n");
    for family in FAMILIES {
        let kind = match family.kind {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            _ => "other",
        };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, labels) = (family.full_name(), labels.join(", "));
        writeln!(page, "| `{name}` | {kind} | {labels} | {} |", family.help).unwrap();
    }
    page
}

fn errors() -> String {
    let about = "Every error has a slug that never changes its meaning. `dormouse explain SLUG` \
                 says the same. As a problem document (`application/problem+json`) its type is \
                 `urn:dormouse:problem:SLUG`.";
    let mut page = head("Errors", about);
    for told in ["wake", "visitor", "api", "check"] {
        writeln!(page, "## Told {}\n", slugs::whence(told)).unwrap();
        page.push_str(
            "| slug | what it means | what to do | who can mend it |\n|---|---|---|---|\n",
        );
        for one in slugs::all().iter().filter(|page| page.told == told) {
            let (slug, meaning, hint, owner) = (one.slug, one.meaning, one.hint, one.owner);
            writeln!(page, "| `{slug}` | {meaning} | {hint} | {owner} |").unwrap();
        }
        page.push('\n');
    }
    page.trim_end().to_owned() + "\n"
}

fn config() -> String {
    let about = "The file that `dormouse init` prints: every key with its default. Durations and \
                 sizes are texts with units; \"never\" is the word for never.";
    let page = head("Configuration", about);
    format!("{page}```toml\n{}\n```\n", DEFAULT_FILE.trim_end())
}

fn api() -> String {
    let document = serde_json::to_value(dormouse::api::openapi()).unwrap();
    let about = document["info"]["description"].as_str().unwrap();
    let mut page = head("Admin API", about);
    page.push_str("The same for programs: `GET /openapi.json`.\n\n");
    for (path, verbs) in document["paths"].as_object().unwrap() {
        for (verb, operation) in verbs.as_object().unwrap() {
            endpoint(&mut page, path, verb, operation);
        }
    }
    page.push_str("## Shapes\n\n");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        shape(&mut page, name, schema);
    }
    page.trim_end().to_owned() + "\n"
}

fn endpoint(page: &mut String, path: &str, verb: &str, operation: &Value) {
    writeln!(page, "## {} {path}\n", verb.to_uppercase()).unwrap();
    let summary = operation["summary"].as_str().or(operation["description"].as_str());
    writeln!(page, "{}\n", summary.unwrap_or_default()).unwrap();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        let about = parameter["description"].as_str().unwrap_or_default();
        writeln!(page, "- `{name}` ({place}): {about}").unwrap();
    }
    if let Some(body) = operation.get("requestBody") {
        let shape = shape_of(&body["content"]);
        writeln!(page, "- body: {shape} {}", text(&body["description"])).unwrap();
    }
    page.push_str("\n| status | what the reader does next | shape |\n|---|---|---|\n");
    for (status, answer) in operation["responses"].as_object().unwrap() {
        let about = text(&answer["description"]);
        writeln!(page, "| {status} | {about} | {} |", shape_of(&answer["content"])).unwrap();
    }
    page.push('\n');
}

fn shape_of(content: &Value) -> String {
    let schema = content.as_object().and_then(|kinds| kinds.values().next());
    schema.map_or_else(String::new, |kind| kind_of(&kind["schema"]))
}

fn shape(page: &mut String, name: &str, schema: &Value) {
    writeln!(page, "### {name}\n\n{}\n", text(&schema["description"])).unwrap();
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", text(word))).collect();
        writeln!(page, "One of {}.\n", words.join(", ")).unwrap();
        return;
    }
    let parts = match schema["allOf"].as_array() {
        Some(parts) => parts.iter().collect(),
        None => vec![schema],
    };
    page.push_str("| member | type | what it is |\n|---|---|---|\n");
    for part in parts {
        if part.get("$ref").is_some() {
            writeln!(page, "| all of {} | | |", kind_of(part)).unwrap();
        }
        let required: Vec<&str> =
            part["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (member, kind) in part["properties"].as_object().into_iter().flatten() {
            let may = if required.contains(&member.as_str()) { "" } else { "?" };
            let about = text(&kind["description"]);
            writeln!(page, "| `{member}`{may} | {} | {about} |", kind_of(kind)).unwrap();
        }
    }
    page.push('\n');
}

fn kind_of(schema: &Value) -> String {
    if let Some(path) = schema["$ref"].as_str() {
        let name = path.rsplit('/').next().unwrap_or(path);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let real = choices.iter().filter(|choice| choice["type"] != "null");
        return real.map(kind_of).collect::<Vec<_>>().join(" or ");
    }
    if schema["type"] == "array" {
        return format!("list of {}", kind_of(&schema["items"]));
    }
    if let Some(values) = schema.get("additionalProperties") {
        return format!("map to {}", kind_of(values));
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        kind => kind.as_str(),
    };
    let kind = if schema["format"] == "date-time" { Some("moment") } else { kind };
    kind.unwrap_or("value").to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn head(title: &str, about: &str) -> String {
    format!("<!-- Made from the code; a test fails when it drifts. -->\n# {title}\n\n{about}\n\n")
}
