//! The words of the command line. Help, man page, completions and reference come from here.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::api::{parse_duration, parse_status};
use crate::client::Address;
use crate::watch::{Target, TargetError};

/// Puts idle workloads to sleep and wakes them on the first request, without ever losing one.
#[derive(Debug, Parser)]
#[command(
    name = "dormouse",
    version,
    arg_required_else_help = true,
    after_long_help = "Data goes to standard output, everything else to standard error.\n\n\
        Exit codes: 0 ok, 1 failed, 2 usage, 3 config invalid, 4 not found, 5 timed out,\n\
        6 daemon unreachable, 7 denied, 8 refused (busy), 130 interrupted."
)]
pub(super) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Serve: the gateway, the keeper and the admin API
    ///
    /// Without -c the file is ./dormouse.toml, then /etc/dormouse/dormouse.toml; without either
    /// the labels of this machine's engine define the workloads.
    Serve {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Serve a demonstration that needs no engine, no root and no file
    Demo,
    /// Collect for a dashboard: JSON lines on standard input and output
    ///
    /// A drop-in for the collection worker of a dashboard: it is told environments on standard
    /// input, one JSON object a line, and tells their status, metrics, events and disk usage on
    /// standard output. It ends with its input, at SIGTERM, SIGINT and "shutdown". The env var
    /// SKIP_DF_COLLECTION, when it is not empty, turns disk usage off. docs/collect.md has every
    /// line.
    Collect,
    /// Lint a configuration: every finding with its place and what to do about it
    Check {
        /// The file; the one that serve would find when absent
        file: Option<PathBuf>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// List the workloads
    #[command(visible_alias = "ls")]
    List(Remote),
    /// Show everything about a workload
    Show(OneWorkload),
    /// Tell why a workload is in its phase, what keeps it awake and until when; or what an error
    /// slug means
    Explain {
        /// A workload, or the slug of an error
        #[arg(value_name = "NAME|SLUG")]
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Wake a workload
    Wake {
        #[command(flatten)]
        workload: OneWorkload,
        /// Wait until it is ready, for so long at most, and tell each step as it happens
        #[arg(
            long,
            value_name = "PERIOD",
            num_args = 0..=1,
            default_missing_value = "60s",
            value_parser = parse_duration,
        )]
        wait: Option<Duration>,
    },
    /// Put a workload to sleep, unless it is in use
    Sleep {
        #[command(flatten)]
        workload: OneWorkload,
        /// Although it is in use: what is open has its drain timeout
        #[arg(long)]
        force: bool,
    },
    /// Count as use now: a workload that is awake gets a full idle period
    Touch(OneWorkload),
    /// Keep a workload awake, and wake it if it sleeps
    Pin {
        #[command(flatten)]
        workload: OneWorkload,
        /// For how long; for good when absent
        #[arg(long = "for", value_name = "PERIOD", value_parser = parse_duration)]
        period: Option<Duration>,
        /// What for, in words
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Let a pinned workload sleep again
    Unpin(OneWorkload),
    /// Tell what has happened, to all workloads or to one
    Events {
        /// A workload; all of them when absent
        name: Option<String>,
        /// Go on telling what happens
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Print the last lines that a workload wrote
    Logs {
        #[command(flatten)]
        workload: OneWorkload,
        /// How many lines at most
        #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 100)]
        lines: usize,
    },
    /// Watch a live table of the workloads
    Top {
        /// How often it is drawn anew
        #[arg(long, value_name = "PERIOD", default_value = "2s", value_parser = parse_duration)]
        every: Duration,
        #[command(flatten)]
        remote: Remote,
    },
    /// Follow whether services can be reached, or list the watches of a running dormouse
    ///
    /// Each TARGET is probed here, without a running dormouse: http:// and https:// pages, tcp://
    /// ports, unix:// sockets, dns:// names (dns://SERVER/NAME asks that server), grpc:// and
    /// grpcs:// health. Every change is told, until Ctrl-C. With --once each is probed once, and
    /// the exit status is 0 when all are reached and 1 when one is not.
    Watch {
        /// What to probe; the watches of a running dormouse are listed when absent
        #[arg(value_name = "TARGET", value_parser = parse_target)]
        targets: Vec<Target>,
        /// Probe each once: 0 when all are reached, 1 when one is not
        #[arg(long, requires = "targets")]
        once: bool,
        #[command(flatten)]
        pace: Pace,
        #[command(flatten)]
        expectations: Expectations,
        #[command(flatten)]
        remote: Remote,
    },
    /// Have the running dormouse read its configuration again
    Reload(Remote),
    /// Ask whether a dormouse lives, and what it depends on
    Health(Remote),
    /// Replay a seed of the simulator
    Sim {
        /// The seed
        #[arg(long)]
        seed: u64,
        /// Steps of the storm
        #[arg(long, value_name = "NUMBER", default_value_t = dormouse_core::sim::STEPS)]
        steps: u64,
        /// Tell every line of the transcript
        #[arg(long)]
        tell: bool,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a commented configuration file to start from
    Init,
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// How often and how patiently targets are probed.
#[derive(Clone, Debug, Args)]
pub(super) struct Pace {
    /// How often each is probed
    #[arg(long, value_name = "PERIOD", default_value = "5s", value_parser = parse_duration)]
    pub(super) every: Duration,
    /// How long one probe may take
    #[arg(long, value_name = "PERIOD", default_value = "10s", value_parser = parse_duration)]
    pub(super) timeout: Duration,
    /// Failures in a row that take one down
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    pub(super) fall: u32,
    /// Successes in a row that bring one up
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(super) rise: u32,
}

/// What counts as reached.
#[derive(Clone, Debug, Args)]
pub(super) struct Expectations {
    /// The statuses of a page that count as reached: 200-399 when absent
    #[arg(long, value_name = "RANGE", value_parser = parse_status)]
    pub(super) status: Option<RangeInclusive<u16>>,
    /// A text that the body of a page must have
    #[arg(long, value_name = "TEXT")]
    pub(super) body: Option<String>,
    /// Accept any certificate
    #[arg(long)]
    pub(super) insecure: bool,
}

/// How to reach a running dormouse.
#[derive(Clone, Debug, Args)]
pub(super) struct Remote {
    /// Where it is: http://HOST:PORT or unix:///PATH
    #[arg(
        long,
        value_name = "URL",
        env = "DORMOUSE_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:9900"
    )]
    pub(super) url: Address,
    /// The token of its admin API
    #[arg(long, value_name = "TOKEN", env = "DORMOUSE_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A workload of a running dormouse.
#[derive(Clone, Debug, Args)]
pub(super) struct OneWorkload {
    /// Its name where that is unique, or environment/name
    pub(super) name: String,
    /// Where it is.
    #[command(flatten)]
    pub(super) remote: Remote,
}

fn parse_target(text: &str) -> Result<Target, String> {
    text.parse().map_err(|error: TargetError| match error {
        TargetError::NotUrl if text.contains(':') => {
            format!("it {error}; say tcp://{text} if a port is meant")
        }
        error => format!("it {error}"),
    })
}
