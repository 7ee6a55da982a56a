//! The file as a whole: the reference is complete, and every finding stands at its place.

use super::*;

fn no_env(_: &str) -> Option<String> {
    None
}

#[test]
fn the_default_file_says_what_holds_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dormouse.toml");
    std::fs::write(&path, DEFAULT_FILE).unwrap();
    let loaded = load_with(&path, &no_env);
    assert_eq!(loaded.findings, []);
    assert_eq!(loaded.settings.unwrap(), Settings::standard(&no_env, true));
}
