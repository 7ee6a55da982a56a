//! The test application as an image: found beside the binary under test, built where it is missing
//! or older than its source.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use dormouse_testkit::images::Image;

/// The binary under test.
pub(crate) const DORMOUSE: &str = env!("CARGO_BIN_EXE_dormouse");
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/Cargo.toml");
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/src/bin/testapp");

/// The test application's binary.
///
/// # Panics
/// When it can neither be found nor built.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let binary = Path::new(DORMOUSE).with_file_name("testapp");
        if modified(&binary) < source_modified() {
            build(&binary);
        }
        assert!(binary.is_file(), "{} is missing and was not built", binary.display());
        binary
    })
}

/// An image with the test application as `/app`.
pub(crate) fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| Image::of_binary(binary()).unwrap())
}

fn build(binary: &Path) {
    let profile = binary.parent().unwrap();
    let target = profile.parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--bin", "testapp", "--manifest-path", MANIFEST]);
    command.arg("--target-dir").arg(target);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().unwrap();
    assert!(status.success(), "the test application cannot be built: {status}");
}

fn source_modified() -> Option<SystemTime> {
    let files = std::fs::read_dir(SOURCE).unwrap();
    files.filter_map(|file| modified(&file.ok()?.path())).max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}
