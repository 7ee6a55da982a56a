//! A stand-in for the dormouse program where a test needs one to die.
//!
//! Without arguments, or with those of a launcher, it is the process provider's guard. With `host`
//! it is a dormouse that runs the rest of its arguments as a process, prints `ready GROUP` and then
//! lives until it is killed. A first argument `--name=…` means nothing; it can be seen from outside.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use dormouse_core::Condition;
use dormouse_providers::process::guard::{self, GuardCommand};
use dormouse_providers::process::{ProcessConfig, ProcessProvider};
use dormouse_providers::{LaunchSpec, Provider, ProviderError, StartOrder, Target};
use tokio::time::Instant;

const START_MAX: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1);
    let named = |word: &OsString| word.to_string_lossy().starts_with("--name=");
    let args: Vec<OsString> = args.skip_while(named).collect();
    match args.split_first() {
        Some((word, command)) if word == "host" => host(command),
        Some(_) | None => guard::run(args),
    }
}

fn host(command: &[OsString]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a test machine has room for a runtime");
    match runtime.block_on(run(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: &[OsString]) -> Result<(), ProviderError> {
    let own_guard = GuardCommand::current_program(Vec::<OsString>::new());
    let provider = ProcessProvider::new(ProcessConfig::new(own_guard))?;
    let command = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let launch = LaunchSpec { command, ..LaunchSpec::default() };
    let order = StartOrder { launch: Some(launch.into()) };
    let sighting =
        provider.start(&Target::new("guest"), &order, Instant::now() + START_MAX).await?;
    if let Condition::Running { run, .. } = sighting.condition {
        println!("ready {}", run.0 as u32);
    }
    std::future::pending().await
}
