//! The command line: one binary that serves, and that asks a running one.

mod act;
mod args;
mod complaint;
mod local;
mod look;
mod print;
mod serving;
pub mod slugs;
mod story;
mod watch;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use dormouse_wire::Exit;

use crate::client::Client;
use crate::demo::APP_SUBCOMMAND;
use crate::runtimes::GUARD_SUBCOMMAND;

use args::{Cli, Remote, Verb};
use complaint::Complaint;

/// Does what the command line says.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // What dormouse starts of itself is no part of the command line that people see.
    match args.get(1).and_then(|word| word.to_str()) {
        Some(GUARD_SUBCOMMAND) => {
            return dormouse_providers::process::guard::run(args.into_iter().skip(2));
        }
        Some(APP_SUBCOMMAND) => return exit(serving::demo_app(args.get(2))),
        Some(_) | None => {}
    }
    match Cli::try_parse_from(args) {
        Ok(cli) => exit(obey(cli.verb)),
        Err(error) => {
            // Help and version are data and a success; a closed pipe is one, too.
            let _ = error.print();
            match error.use_stderr() {
                true => ExitCode::from(Exit::Usage.code()),
                false => ExitCode::SUCCESS,
            }
        }
    }
}

/// The whole command line, for help, man page, completions and reference.
pub fn command() -> clap::Command {
    Cli::command()
}

fn exit(outcome: Result<Exit, Complaint>) -> ExitCode {
    let exit = outcome.unwrap_or_else(|complaint| {
        complaint.say();
        complaint.exit
    });
    ExitCode::from(exit.code())
}

fn obey(verb: Verb) -> Result<Exit, Complaint> {
    match verb {
        Verb::Serve { config } => serving::serve(config),
        Verb::Demo => serving::demo(),
        Verb::Collect => serving::collect(),
        Verb::Check { file, json } => local::check(file.as_deref(), json),
        Verb::Sim { seed, steps, tell, json } => local::sim(seed, steps, tell, json),
        Verb::Init => local::init(),
        Verb::Completions { shell } => local::completions(shell),
        Verb::Man => local::man(),
        Verb::Explain { name, remote } => match slugs::find(&name) {
            Some(page) => look::slug(page, remote.json),
            None => ask(&remote, async |client| look::explain(&client, &name, remote.json).await),
        },
        Verb::List(remote) => ask(&remote, async |client| look::list(&client, remote.json).await),
        Verb::Show(one) => {
            ask(&one.remote, async |client| look::show(&client, &one.name, one.remote.json).await)
        }
        Verb::Top { every, remote } => {
            ask(&remote, async |client| look::top(&client, every, remote.json).await)
        }
        Verb::Health(remote) => {
            ask(&remote, async |client| look::health(&client, remote.json).await)
        }
        Verb::Wake { workload, wait } => {
            ask(&workload.remote, async |client| act::wake(&client, &workload, wait).await)
        }
        Verb::Sleep { workload, force } => ask(&workload.remote, async |client| match force {
            true => act::force_sleep(&client, &workload).await,
            false => act::sleep(&client, &workload).await,
        }),
        Verb::Touch(one) => ask(&one.remote, async |client| act::touch(&client, &one).await),
        Verb::Pin { workload, period, reason } => {
            ask(&workload.remote, async |client| act::pin(&client, &workload, period, reason).await)
        }
        Verb::Unpin(one) => ask(&one.remote, async |client| act::unpin(&client, &one).await),
        Verb::Watch { targets, remote, .. } if targets.is_empty() => {
            ask(&remote, async |client| watch::list(&client, remote.json).await)
        }
        Verb::Watch { targets, once, pace, expectations, remote } => {
            let policy = watch::policy(&pace)?;
            let probes = watch::probes(&targets, &expectations)?;
            until_interrupted(async {
                match once {
                    true => watch::once(probes, pace.timeout, remote.json).await,
                    false => watch::follow(probes, policy, remote.json).await,
                }
            })
        }
        Verb::Reload(remote) => {
            ask(&remote, async |client| act::reload(&client, remote.json).await)
        }
        Verb::Events { name, follow, remote } => ask(&remote, async |client| {
            let story = story::Wanted { name: name.as_deref(), json: remote.json };
            match follow {
                true => story::follow(&client, story).await,
                false => story::so_far(&client, story).await,
            }
        }),
        Verb::Logs { workload, lines } => {
            ask(&workload.remote, async |client| story::logs(&client, &workload, lines).await)
        }
    }
}

/// Asks a running dormouse, until it has answered or somebody presses Ctrl-C.
fn ask(
    remote: &Remote,
    verb: impl AsyncFnOnce(Client) -> Result<Exit, Complaint>,
) -> Result<Exit, Complaint> {
    let client = Client::new(remote.url.clone(), remote.token.as_deref())?;
    until_interrupted(verb(client))
}

/// Goes on until it has ended or somebody presses Ctrl-C.
fn until_interrupted(
    verb: impl Future<Output = Result<Exit, Complaint>>,
) -> Result<Exit, Complaint> {
    let runtime = serving::small_runtime()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = verb => outcome,
            _ = tokio::signal::ctrl_c() => Err(Complaint::silent(Exit::Interrupted)),
        }
    });
    // A name that is still being looked up on a thread of its own keeps nobody waiting.
    runtime.shutdown_background();
    outcome
}
