//! A small file in one request (fact sheet 7), and whether the store's service takes such uploads.
//!
//! Owns what this run knows of that. The order of the write-ahead rules: intent on disk, which says that nobody
//! can be asked → request → submitted. Promises: sent again only where `rules` says that nothing was made; one
//! without an answer is settled by the store; as long as it is not known whether the service keeps metadata,
//! the document is looked at before it is the file's own.

use std::time::{Duration, Instant};

use super::worker::{Returned, Worker, metadata, new_document};
use crate::client::{
    Delivered, DocumentState, Failure, FailureKind, Started, Submitted, Unanswered,
};
use crate::identity::{self, Identity};
use crate::pipeline::outcome;
use crate::pipeline::outcome::subject::Subject;
use crate::pipeline::rules::{self, AfterOneRequest, Told};
use crate::report::Event;
use crate::state::{Cause, Change, Charge, Durable, HandBack, Intent, Job, Support};

/// Between two looks whether a document has its metadata: once a store, and mostly one is enough.
const METADATA_LOOK: Duration = Duration::from_secs(1);

impl Worker<'_> {
    pub(super) fn upload_in_one_request(&self, job: &Job, batch: i64) -> Returned {
        let subject = Subject::of(job);
        let intents = self.waited(|w| w.intent_of_one_request(job.upload, batch));
        let (intent, unaskable) = match intents {
            Ok(intents) => intents,
            Err(e) => {
                self.told(Told::Nothing);
                return Returned::Fatal(e);
            }
        };
        let metadata = metadata(job);
        let name = identity::display_name(&job.path);
        let document = new_document(job, &name, &metadata);
        let pace = |bytes: usize| self.pace(bytes);
        let mut body = self.body(job, &pace);
        match self
            .client
            .upload(self.store, &unaskable, &document, &mut body)
        {
            Delivered::Document(submitted) => self.delivered(job, &subject, submitted),
            Delivered::Changed => {
                self.told(Told::Nothing);
                self.changed(job, &subject)
            }
            Delivered::Unanswered(unanswered) => {
                self.unanswered(job, &subject, &intent, &unanswered)
            }
        }
    }

    fn delivered(&self, job: &Job, subject: &Subject, submitted: Submitted) -> Returned {
        if !rules::can_be_followed(&submitted, self.store) {
            self.told(Told::Lost);
            return Returned::Lost;
        }
        let told = match self.one_request.known().is_trial() {
            true => self.look_at_metadata(job, &submitted),
            false => Told::Nothing,
        };
        self.told(told);
        if told == Told::Refused {
            let cause = Cause {
                kind: "metadata",
                words: "the service dropped the document's metadata".to_owned(),
            };
            let back = HandBack {
                document: submitted.document,
                ..HandBack::uncharged().because(cause)
            };
            self.outcomes.handed_back(subject, back);
            return Returned::Done;
        }
        self.outcomes.submitted(subject, submitted, None);
        Returned::Done
    }

    /// A document without its identity could never be found again. As long as the service works on it, or does not
    /// see it yet, it is looked at again for a while; if that tells nothing, another file will.
    fn look_at_metadata(&self, job: &Job, submitted: &Submitted) -> Told {
        let Some(name) = &submitted.document else {
            return Told::Nothing;
        };
        // Not the variant: what a service makes of a number is no matter of the request's form.
        let is_own = |found: &Identity| {
            found.library == job.library_name
                && found.path == job.path_value
                && found.content.sha256 == job.content.sha256
        };
        let began = Instant::now();
        loop {
            let is_late = began.elapsed() >= self.waits.document_seen_within;
            match self.client.document(name) {
                Ok(document) if document.identity.as_ref().is_some_and(is_own) => {
                    return Told::Works;
                }
                Ok(document) if is_late || document.state != DocumentState::Pending => {
                    return Told::Refused;
                }
                Ok(_) => {}
                Err(failure) if is_late || failure.kind != FailureKind::Missing => {
                    return Told::Nothing;
                }
                Err(_) => {}
            }
            if !self.shutdown.sleep(self.waits.scaled(METADATA_LOOK)) {
                return Told::Nothing;
            }
        }
    }

    fn unanswered(
        &self,
        job: &Job,
        subject: &Subject,
        intent: &Durable<Intent>,
        unanswered: &Unanswered,
    ) -> Returned {
        let failure = &unanswered.failure;
        match rules::after_one_request(unanswered) {
            AfterOneRequest::LookUp => {
                self.told(Told::Lost);
                self.lost(subject, failure)
            }
            AfterOneRequest::BySession => self.by_session(job, subject, intent, failure),
            AfterOneRequest::NoDocument => {
                self.told(Told::Nothing);
                self.failed(job, subject, failure)
            }
        }
    }

    /// Only the store can tell what became of it.
    fn lost(&self, subject: &Subject, failure: &Failure) -> Returned {
        let charge = match failure.makes_no_sense() {
            true => Charge::Nothing,
            false => Charge::Attempt,
        };
        self.outcomes
            .left_in_doubt(subject, charge, outcome::cause(failure));
        match outcome::fatal(failure, self.store.as_str()) {
            Some(error) => Returned::Fatal(error),
            None => Returned::Lost,
        }
    }

    /// The start of a session has the same JSON: if it is accepted, the form was what is refused.
    fn by_session(
        &self,
        job: &Job,
        subject: &Subject,
        intent: &Durable<Intent>,
        refusal: &Failure,
    ) -> Returned {
        let started = self.start(job, intent);
        let is_form = started.is_ok() && rules::refuses_the_form(refusal.kind);
        self.told(match is_form {
            true => Told::Refused,
            false => Told::Nothing,
        });
        self.started(job, subject, started)
    }

    fn told(&self, told: Told) {
        let Some(support) = self.one_request.known().told(told) else {
            return;
        };
        let store = self.one_request.store;
        let change = Change::SupportSeen { store, support };
        self.outcomes.writer.send(change, |_| {});
        if support == Support::Refused {
            self.outcomes.events.send(Event::Notice(
                "the service does not take small files in one request: they go by sessions"
                    .to_owned(),
            ));
        }
    }

    /// A session for the file.
    pub(super) fn start(&self, job: &Job, intent: &Durable<Intent>) -> Result<Started, Failure> {
        let metadata = metadata(job);
        let name = identity::display_name(&job.path);
        let document = new_document(job, &name, &metadata);
        self.client.start(self.store, intent, &document)
    }
}
