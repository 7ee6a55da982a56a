//! The one suite that every provider and every fake passes: what the house may rely on, whatever
//! the runtime.
//!
//! A [`Bench`] sets up targets and does things behind the provider's back; the checks are the same
//! for all of them. [`run_all`] runs them one after another on one bench;
//! [`conformance_tests!`](crate::conformance_tests) makes a test of each.

mod acts;
mod bench;
mod disturbances;
mod feeds;
mod watcher;

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

pub use acts::{
    a_deadline_in_the_past_is_a_timeout_or_an_answer, a_dropped_rest_leaves_the_target_usable,
    a_dropped_start_leaves_the_target_usable, a_look_at_what_is_absent_shows_it_absent,
    a_rest_of_what_is_absent_is_absent, a_rest_that_outlasts_its_deadline_is_a_timeout,
    a_rest_with_grace_kills_what_does_not_listen, a_run_survives_a_pause_and_not_a_stop,
    a_second_kill_changes_nothing, a_second_pause_changes_nothing, a_second_start_changes_nothing,
    a_second_stop_changes_nothing, a_start_brings_up_what_is_paused,
    a_start_brings_up_what_is_stopped, a_start_brings_up_what_was_never_started,
    a_start_of_what_is_absent_is_absent, a_stop_ends_what_is_paused,
    concurrent_starts_yield_one_run, the_last_lines_come_oldest_first, the_list_names_everything,
};
pub use bench::{Bench, Disturbance, HandDeed, Kind, Setting};
pub use disturbances::{
    a_cut_stream_loses_nothing, a_restarted_engine_is_lost_and_listed_again,
    a_subscriber_that_falls_behind_learns_the_truth, a_target_is_seen_to_die_with_the_engine,
    lost_events_are_made_good_in_time, odd_events_do_no_harm,
};
pub use feeds::{
    a_crash_is_seen_with_its_exit_code, a_feed_begins_with_a_full_listing,
    a_hand_that_pauses_and_unpauses_is_seen, a_hand_that_restarts_is_seen_as_another_run,
    a_hand_that_starts_is_seen, a_hand_that_stops_is_seen, a_hup_is_not_a_stop,
    a_recreated_target_is_the_same_with_another_run, a_removed_target_is_seen_absent,
    a_renamed_target_is_known_by_its_new_name, our_own_acts_are_seen, two_subscribers_see_the_same,
};

/// What came of a check that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// The runtime has no such thing, for this reason.
    DoesNotApply(&'static str),
}

/// Takes what a bench could set up or do, or ends the check as one that does not apply.
macro_rules! applies {
    ($option:expr, $why:literal) => {
        match $option {
            Some(value) => value,
            None => return $crate::conformance::Verdict::DoesNotApply($why),
        }
    };
}
pub(crate) use applies;

/// The checks, once as a function that runs them all and once as a macro that tests each.
macro_rules! suite {
    ($dollar:tt $($check:ident),* $(,)?) => {
        /// Runs every check on one bench, prints what came of each, and fails with all failures.
        ///
        /// # Panics
        /// When a check fails.
        pub async fn run_all<B: Bench>(bench: &B) {
            let mut failures = Vec::new();
            $(failures.extend(tried(stringify!($check), $check(bench)).await);)*
            assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
        }

        /// Makes a test of each check. The argument is an async function that answers a bench, or
        /// nothing where this machine has none.
        #[macro_export]
        macro_rules! conformance_tests {
            ($dollar bench:path) => {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    if let Some(bench) = $dollar bench().await {
                        let verdict = $crate::conformance::$check(&bench).await;
                        println!("{}: {verdict:?}", stringify!($check));
                    }
                })*
            };
        }
    };
}

suite![$
    a_start_brings_up_what_is_stopped,
    a_start_brings_up_what_is_paused,
    a_start_brings_up_what_was_never_started,
    a_second_start_changes_nothing,
    concurrent_starts_yield_one_run,
    a_second_stop_changes_nothing,
    a_second_pause_changes_nothing,
    a_second_kill_changes_nothing,
    a_stop_ends_what_is_paused,
    a_rest_with_grace_kills_what_does_not_listen,
    a_rest_that_outlasts_its_deadline_is_a_timeout,
    a_deadline_in_the_past_is_a_timeout_or_an_answer,
    a_dropped_start_leaves_the_target_usable,
    a_dropped_rest_leaves_the_target_usable,
    a_run_survives_a_pause_and_not_a_stop,
    a_start_of_what_is_absent_is_absent,
    a_rest_of_what_is_absent_is_absent,
    a_look_at_what_is_absent_shows_it_absent,
    the_list_names_everything,
    the_last_lines_come_oldest_first,
    a_feed_begins_with_a_full_listing,
    our_own_acts_are_seen,
    a_hand_that_stops_is_seen,
    a_hand_that_starts_is_seen,
    a_hand_that_pauses_and_unpauses_is_seen,
    a_hand_that_restarts_is_seen_as_another_run,
    a_crash_is_seen_with_its_exit_code,
    a_hup_is_not_a_stop,
    a_recreated_target_is_the_same_with_another_run,
    a_renamed_target_is_known_by_its_new_name,
    a_removed_target_is_seen_absent,
    two_subscribers_see_the_same,
    a_cut_stream_loses_nothing,
    a_restarted_engine_is_lost_and_listed_again,
    a_target_is_seen_to_die_with_the_engine,
    lost_events_are_made_good_in_time,
    odd_events_do_no_harm,
    a_subscriber_that_falls_behind_learns_the_truth,
];

/// Runs one check to its end, prints what came of it, and answers the failure.
async fn tried(name: &str, check: impl Future<Output = Verdict>) -> Option<String> {
    match AssertUnwindSafe(check).catch_unwind().await {
        Ok(Verdict::Holds) => {
            println!("{name}: holds");
            None
        }
        Ok(Verdict::DoesNotApply(why)) => {
            println!("{name}: does not apply, {why}");
            None
        }
        Err(panic) => {
            let failure = format!("{name}: {}", said_by(panic.as_ref()));
            println!("{failure}");
            Some(failure)
        }
    }
}

fn said_by(panic: &(dyn Any + Send)) -> &str {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    formatted.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}
