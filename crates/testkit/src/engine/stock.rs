//! Containers that behave the same in the fake and in the real engine: a command for busybox, and
//! the behaviour that a fake must be told.

use std::time::Duration;

use super::spec::{ContainerSpec, HealthPlan, OnTerm};

/// Does nothing, and costs nothing, with its ears open.
const IDLE: &str = "sleep 86400 & while :; do wait; done";

/// Ends with code 0 as soon as it is asked to.
pub fn obedient(name: &str) -> ContainerSpec {
    shell(name, &format!("trap 'exit 0' TERM; {IDLE}")).behaving(|it| {
        it.on_term = OnTerm::Exit { after: Duration::from_millis(20), code: 0 };
    })
}

/// Goes on when it is asked to end.
pub fn deaf(name: &str) -> ContainerSpec {
    shell(name, &format!("trap '' TERM; {IDLE}")).behaving(|it| it.on_term = OnTerm::Ignore)
}

/// Writes `line 1` to `line 5`, and ends when it is asked to.
pub fn talkative(name: &str) -> ContainerSpec {
    let talk = "for i in 1 2 3 4 5; do echo line $i; done; trap 'exit 0' TERM";
    let lines = (1..=5).map(|number| format!("line {number}")).collect();
    shell(name, &format!("{talk}; {IDLE}")).behaving(|it| it.output = lines)
}

/// Ends by itself after a tenth of a second, with this exit code.
pub fn brief(name: &str, exit_code: i32) -> ContainerSpec {
    shell(name, &format!("sleep 0.1; exit {exit_code}"))
        .behaving(|it| it.crash = Some((Duration::from_millis(100), exit_code)))
}

/// Names a program that is not there.
pub fn broken(name: &str) -> ContainerSpec {
    let mut spec = ContainerSpec::named(name);
    spec.command = vec!["/nosuch".to_owned()];
    spec.behaviour.refuse_start = Some(
        "failed to create shim task: OCI runtime create failed: runc create failed: unable to \
         start container process: exec: \"/nosuch\": stat /nosuch: no such file or directory: \
         unknown"
            .to_owned(),
    );
    spec
}

/// Obedient, with a health check that turns out so each time.
pub fn checked(name: &str, passes: bool) -> ContainerSpec {
    obedient(name).health(HealthPlan {
        interval: Duration::from_millis(200),
        passes: vec![passes],
        retries: 2,
    })
}

fn shell(name: &str, script: &str) -> ContainerSpec {
    let mut spec = ContainerSpec::named(name);
    spec.command = ["sh", "-c", script].map(str::to_owned).to_vec();
    spec
}
