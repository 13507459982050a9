//! The flags of the emulator's faults.
//!
//! They come from a table: derived one by one, they would be a good part of the program's code.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use serde_json::{Map, Value, json};

use Takes::{Number, Switch, Whole, Word};

pub const HEADING: &str = "Faults (probabilities are 0 to 1)";

/// What the value of a flag is.
#[derive(Clone, Copy)]
enum Takes {
    Whole,
    Number,
    Word,
    Switch,
}

/// One flag a fault; the names are those of the plan.
#[rustfmt::skip]
const FAULTS: [(&str, Takes, &str); 66] = [
    ("latency-ms", Whole, "Every answer takes so long"),
    ("latency-jitter-ms", Whole, "Up to so much longer"),
    ("quota-per-min", Number, "Requests a minute that are accepted, all together"),
    ("quota-write-per-min", Number, "The same for uploads, imports and deletions"),
    ("quota-read-per-min", Number, "The same for polls and listings"),
    ("quota-shape", Word, "How quotas count: fixed, sliding or bucket"),
    ("quota-counts", Word, "Which requests they count: all, all_but_bodies or starts"),
    ("quota-burst", Number, "Requests that a bucket saves up [default: ten seconds of its rate]"),
    ("quota-no-retry-info", Switch, "Whether their 429s come without RetryInfo"),
    ("quota-retry-delay-s", Number, "What RetryInfo says instead of the truth"),
    ("quota-per-day", Whole, "Requests accepted a day"),
    ("storage-limit-bytes", Whole, "Bytes that all stores together may hold"),
    ("error-503", Number, "503 UNAVAILABLE"),
    ("error-500", Number, "500 INTERNAL"),
    ("error-429", Number, "429 without a quota behind it"),
    ("error-408", Number, "408"),
    ("count-tokens-503", Number, "503 \"Failed to count tokens.\" at the end of a direct upload"),
    ("empty-503", Number, "503 with an empty message"),
    ("html-502", Number, "502 with an HTML body"),
    ("array-envelope", Number, "Error envelopes come in an array of one"),
    ("reset-before", Number, "Connection reset before the request is read"),
    ("reset-within", Number, "Connection reset in the middle of its body"),
    ("reset-after", Number, "Connection reset after the body, before any effect"),
    ("lose-answer", Number, "The request takes effect, its answer is lost"),
    ("lose-final-answer", Number, "The same for the end of an upload only"),
    ("wrong-json", Number, "The request takes effect, the answer is 200 with what is not the JSON it should be"),
    ("cut-answer", Number, "The request takes effect, the answer ends before its announced length"),
    ("empty-answer", Number, "The request takes effect, the answer is 200 and nothing else"),
    ("drip-ms", Whole, "Each byte of an answer's body takes so long"),
    ("stall", Number, "The request takes effect, no answer comes"),
    ("stall-ms", Whole, "After so long such a connection is closed [default: 120000]"),
    ("start-final", Number, "Uploads that are final at their start, with an empty document"),
    ("start-no-url", Number, "Uploads that start without an upload URL"),
    ("start-foreign-url", Number, "Uploads that start with a URL on another host"),
    ("upload-headers-lost", Number, "Uploads whose headers are lost, so that the JSON of their start becomes the document"),
    ("multipart-refused", Number, "Uploads of one request that are refused in their multipart form"),
    ("multipart-metadata-dropped", Number, "Uploads of one request whose metadata is dropped"),
    ("final-size-wrong", Number, "Uploads that are kept one byte short, and reported so"),
    ("final-not-replayed", Number, "Queries after the end that say final, and nothing more"),
    ("operation-delay-ms", Whole, "An operation takes so long"),
    ("operation-jitter-ms", Whole, "Up to so much longer"),
    ("operation-fail", Number, "Operations that end in an error"),
    ("operation-never-done", Number, "Operations that never say done"),
    ("document-fail", Number, "Documents that fail although their operation ends without an error"),
    ("document-fail-above", Whole, "Documents fail in the same way while more than so many are being indexed"),
    ("document-heals-ms", Whole, "Such a document is active so long after it was ready"),
    ("poll-name-only", Number, "Polls answered with nothing but the name"),
    ("list-lag-ms", Whole, "A new document is not listed for so long"),
    ("get-lag-ms", Whole, "A new document is not there for `get` for so long"),
    ("list-error-page2", Number, "Pages of a listing after the first that fail"),
    ("list-repeat-page", Number, "Pages of a listing after the first that begin with documents of the one before"),
    ("page-token-refused", Number, "Page tokens of a listing that are answered 400"),
    ("list-lose-page", Number, "Pages of a listing that come without their documents"),
    ("list-lose-one", Number, "Pages of a listing that come without one of their documents"),
    ("list-ghost-ms", Whole, "A deleted document is still listed for so long"),
    ("store-lag-ms", Whole, "A new store is not listed for so long"),
    ("missing-403", Number, "Missing documents and operations answered 403 instead of 404"),
    ("file-processing-ms", Whole, "A file of the Files API is PROCESSING for so long"),
    ("file-fail", Number, "Files of the Files API that end as FAILED"),
    ("file-kept-ms", Whole, "A file of the Files API is kept for so long instead of 48 hours"),
    ("file-no-body", Number, "Uploads to the Files API whose final answer lacks the file"),
    ("session-expiry-ms", Whole, "An upload session is forgotten after so long"),
    ("search-lag-ms", Whole, "An active document is not found by questions for so long"),
    ("prompt-blocked", Number, "Questions that are blocked, without an answer"),
    ("answer-blocked", Number, "Answers that are stopped for safety before their first word"),
    ("chunk-granularity", Whole, "Chunk granularity that is announced"),
];

/// What was given of them, as a plan has it.
#[derive(Debug)]
pub struct FaultFlags(pub Map<String, Value>);

impl Args for FaultFlags {
    fn augment_args(command: Command) -> Command {
        let command = command.next_help_heading(HEADING);
        FAULTS.iter().fold(command, |command, (name, takes, help)| {
            let arg = Arg::new(*name).long(*name).value_name("N").help(*help);
            command.arg(match takes {
                Whole => arg.value_parser(value_parser!(u64)),
                Number => arg.value_parser(value_parser!(f64)),
                Word => arg,
                Switch => arg.value_parser(value_parser!(bool)),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        FaultFlags::augment_args(command)
    }
}

impl FromArgMatches for FaultFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<FaultFlags, clap::Error> {
        let given = FAULTS.iter().filter_map(|(name, takes, _)| {
            let value = match takes {
                Whole => matches.get_one::<u64>(name).map(|n| json!(n)),
                Number => matches.get_one::<f64>(name).map(|n| json!(n)),
                Word => matches.get_one::<String>(name).map(|word| json!(word)),
                Switch => matches.get_one::<bool>(name).map(|is_on| json!(is_on)),
            };
            Some((name.replace('-', "_"), value?))
        });
        Ok(FaultFlags(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(FaultFlags::from_arg_matches(matches)?.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::Faults;

    #[test]
    fn every_fault_of_a_plan_that_is_one_value_has_its_flag() {
        let Value::Object(mut plan) = json!(Faults::default()) else {
            panic!("a plan is an object");
        };
        for (name, _, _) in FAULTS {
            assert!(plan.remove(&name.replace('-', "_")).is_some(), "{name}");
        }
        let left: Vec<&String> = plan.keys().collect();
        assert_eq!(left, ["calls", "only_kinds", "outages"]);
    }
}
