//! Each rule of `following`, one at a time; `life` has all of them together.

use super::*;
use crate::client::Operation::{Done, Running};

const BYTES: u64 = 10;
const SECOND: Duration = Duration::from_secs(1);
const EARLY: Duration = Duration::from_secs(2);
/// After so long the operation is looked at as well.
const LATE: Duration = Duration::from_secs(30);
/// And after so long nothing is expected any more.
const TOO_LATE: Duration = Duration::from_millis(30 * 60 * 1000 + 1);

fn waits() -> Waits {
    Waits::default()
}

fn name(id: &str) -> DocumentName {
    DocumentName::new(format!("fileSearchStores/s/documents/{id}"))
}

/// A direct upload of this run: operation and document have names.
fn direct() -> Indexing {
    Indexing::submitted(true, Some(name("d")), Some(BYTES))
}

/// An import of this run: its operation has not named the document.
fn import() -> Indexing {
    Indexing::submitted(true, None, None)
}

fn document(state: DocumentState, size_bytes: Option<u64>) -> Result<Document, Failure> {
    Ok(Document {
        name: name("d"),
        state,
        identity: None,
        size_bytes,
        changed_after: None,
    })
}

fn failure<T>(kind: FailureKind) -> Result<T, Failure> {
    Err(Failure::new(kind, "words"))
}

fn failed(code: i32) -> Operation {
    let message = "words".to_owned();
    Operation::Failed { code, message }
}

fn look_at(id: &str) -> Step {
    Step::LookAtDocument(name(id))
}

fn ends(step: Step) -> End {
    match step {
        Step::End(end) => end,
        step => panic!("not an end: {step:?}"),
    }
}

fn is_lost(indexing: &Indexing) -> bool {
    matches!(indexing.next(&waits()), Step::AwaitListing(cause) if cause.kind == "in doubt")
}

/// The document answers; what was heard.
fn look(indexing: &mut Indexing, answer: Result<Document, Failure>, age: Duration) -> Heard {
    indexing.document_answered(answer, BYTES, age, &waits())
}

#[test]
fn an_upload_is_looked_at_where_its_name_is_known() {
    assert_eq!(direct().document(), Some(&name("d")));
    assert_eq!(import().document(), None);
    assert_eq!(direct().next(&waits()), look_at("d"));
    assert_eq!(import().next(&waits()), Step::LookAtOperation);
    let inherited = |operation, document| Indexing::inherited(operation, document);
    assert_eq!(
        inherited(true, Some(name("d"))).next(&waits()),
        look_at("d")
    );
    assert_eq!(
        inherited(false, Some(name("d"))).next(&waits()),
        look_at("d")
    );
    assert_eq!(inherited(true, None).next(&waits()), Step::LookAtOperation);
    assert!(is_lost(&inherited(false, None)));
}

#[test]
fn an_active_document_of_the_right_size_is_indexed() {
    for (answered, held) in [
        (Some(BYTES), None),
        (None, Some(BYTES)),
        (None, None),
        // The document's own word counts more than that of the upload's end.
        (Some(BYTES), Some(9)),
    ] {
        let mut indexing = Indexing::submitted(true, Some(name("d")), held);
        let answer = document(DocumentState::Active, answered);
        assert_eq!(look(&mut indexing, answer, EARLY), Heard::News);
        assert_eq!(ends(indexing.next(&waits())), End::Indexed(name("d")));
        assert!(!indexing.awaits_listing(LATE, &waits()));
    }
}

#[test]
fn a_short_document_is_deleted_before_the_file_is_tried_again() {
    for (answered, held) in [(Some(9), Some(BYTES)), (None, Some(11))] {
        let mut indexing = Indexing::submitted(true, Some(name("d")), held);
        look(
            &mut indexing,
            document(DocumentState::Active, answered),
            EARLY,
        );
        assert_eq!(indexing.next(&waits()), Step::Delete(name("d")));
        assert_eq!(indexing.deleted(Ok(()), EARLY, &waits()), Heard::News);
        let End::TryAgain(cause) = ends(indexing.next(&waits())) else {
            panic!("{indexing:?}");
        };
        assert_eq!(cause.kind, "torn");
    }
}

/// Should it be active at the next look, the deletion may be under way all the same.
#[test]
fn a_document_that_was_to_be_deleted_is_not_looked_at_again() {
    let mut indexing = direct();
    look(
        &mut indexing,
        document(DocumentState::Active, Some(9)),
        EARLY,
    );
    let heard = indexing.deleted(failure(FailureKind::Transient), EARLY, &waits());
    assert!(matches!(heard, Heard::NoAnswer { in_a_row: 1, .. }));
    assert_eq!(indexing.next(&waits()), Step::Delete(name("d")));
}

#[test]
fn an_operation_that_failed_says_whether_another_attempt_may_pass() {
    for code in -1..20 {
        let mut indexing = direct();
        let heard = indexing.operation_answered(Ok(failed(code)), EARLY, &waits());
        assert_eq!(heard, Heard::News);
        assert_eq!(indexing.next(&waits()), Step::Delete(name("d")));
        indexing.deleted(Ok(()), EARLY, &waits());
        let is_transient = [4, 8, 10, 13, 14].contains(&code);
        match ends(indexing.next(&waits())) {
            End::TryAgain(cause) if is_transient => assert_eq!(cause.kind, "operation"),
            End::Reject(cause) if !is_transient => assert_eq!(cause.kind, "operation"),
            end => panic!("code {code}: {end:?}"),
        }
    }
}

#[test]
fn an_operation_that_ended_well_names_the_document() {
    let mut indexing = import();
    let document = Some(name("d"));
    let heard = indexing.operation_answered(Ok(Done { document }), EARLY, &waits());
    assert_eq!(heard, Heard::News);
    assert_eq!(indexing.next(&waits()), look_at("d"));
    // It has no more to say.
    look(
        &mut indexing,
        self::document(DocumentState::Pending, None),
        LATE,
    );
    assert_eq!(indexing.next(&waits()), look_at("d"));
}

#[test]
fn an_upload_of_which_nothing_has_a_name_waits_for_the_listing() {
    let mut nameless = import();
    nameless.operation_answered(Ok(Done { document: None }), EARLY, &waits());
    let mut forgotten = import();
    forgotten.operation_answered(failure(FailureKind::Missing), EARLY, &waits());
    for mut indexing in [nameless, forgotten] {
        assert!(is_lost(&indexing));
        assert!(indexing.awaits_listing(EARLY, &waits()));
        indexing.listed(Listed::Absent);
        assert!(!indexing.awaits_listing(EARLY, &waits()));
        assert_eq!(ends(indexing.next(&waits())), End::HandBack);
    }
}

#[test]
fn a_forgotten_operation_leaves_the_document_to_look_at() {
    let mut indexing = direct();
    indexing.operation_answered(failure(FailureKind::Missing), EARLY, &waits());
    assert_eq!(indexing.next(&waits()), look_at("d"));
}

#[test]
fn an_operation_that_failed_without_a_name_is_not_tried_again_unsearched() {
    for (listed, is_searched) in [(Listed::Absent, true), (Listed::InVain, false)] {
        let mut indexing = import();
        indexing.operation_answered(Ok(failed(13)), EARLY, &waits());
        assert!(indexing.awaits_listing(EARLY, &waits()));
        let step = indexing.next(&waits());
        assert!(matches!(step, Step::AwaitListing(cause) if cause.kind == "operation"));
        indexing.listed(listed);
        match ends(indexing.next(&waits())) {
            End::TryAgain(_) => assert!(is_searched),
            End::InDoubt(cause) => assert!(!is_searched && cause.kind == "operation"),
            end => panic!("{end:?}"),
        }
    }
}

/// It may be yet to come.
#[test]
fn a_document_that_a_listing_did_not_show_while_its_operation_ran_may_come_later() {
    let mut indexing = import();
    indexing.operation_answered(Ok(Running), LATE, &waits());
    indexing.listed(Listed::Absent);
    assert_eq!(indexing.next(&waits()), Step::LookAtOperation);
    indexing.operation_answered(Ok(failed(3)), LATE, &waits());
    assert!(matches!(ends(indexing.next(&waits())), End::InDoubt(_)));
}

#[test]
fn a_slow_import_may_be_in_the_listing_and_is_looked_at_meanwhile() {
    let mut indexing = import();
    assert!(!indexing.awaits_listing(LATE - SECOND, &waits()));
    assert!(indexing.awaits_listing(LATE, &waits()));
    assert_eq!(indexing.next(&waits()), Step::LookAtOperation);
    indexing.listed(Listed::Found(name("l")));
    assert!(!indexing.awaits_listing(LATE, &waits()));
    assert_eq!(indexing.next(&waits()), look_at("l"));
    // A direct upload's document has a name: nothing to search for.
    assert!(!direct().awaits_listing(LATE, &waits()));
}

#[test]
fn a_lost_upload_goes_on_with_what_the_listing_found() {
    let mut indexing = Indexing::inherited(false, None);
    indexing.listed(Listed::Found(name("l")));
    assert_eq!(indexing.next(&waits()), look_at("l"));
}

/// Listings also show what was deleted a while ago.
#[test]
fn a_listed_document_that_is_not_there_says_nothing_of_another() {
    let mut lost = Indexing::inherited(false, None);
    let mut failed_one = import();
    failed_one.operation_answered(Ok(failed(13)), EARLY, &waits());
    for indexing in [&mut lost, &mut failed_one] {
        indexing.listed(Listed::Found(name("ghost")));
        assert_eq!(indexing.next(&waits()), look_at("ghost"));
        let heard = look(indexing, failure(FailureKind::Missing), EARLY);
        assert_eq!(heard, Heard::News);
        assert!(matches!(ends(indexing.next(&waits())), End::InDoubt(_)));
    }
    let mut running = import();
    running.listed(Listed::Found(name("ghost")));
    look(&mut running, failure(FailureKind::Missing), LATE);
    assert_eq!(running.next(&waits()), Step::LookAtOperation);
}

#[test]
fn a_listed_document_of_a_failed_operation_is_deleted_if_it_is_there() {
    for state in [DocumentState::Pending, DocumentState::Failed] {
        let mut indexing = import();
        indexing.operation_answered(Ok(failed(13)), EARLY, &waits());
        indexing.listed(Listed::Found(name("d")));
        look(&mut indexing, document(state, None), EARLY);
        assert_eq!(indexing.next(&waits()), Step::Delete(name("d")));
    }
}

/// As long as the operation runs, or has just ended.
#[test]
fn a_missing_document_may_only_not_be_seen_yet() {
    let missing = || failure(FailureKind::Missing);
    let mut running = direct();
    assert_eq!(look(&mut running, missing(), LATE), Heard::StillRunning);
    assert_eq!(running.next(&waits()), Step::LookAtOperation);
    let done = || {
        let mut indexing = direct();
        let document = Some(name("d"));
        indexing.operation_answered(Ok(Done { document }), EARLY, &waits());
        indexing
    };
    let seen_within = waits().document_seen_within;
    let just_ended = seen_within - SECOND;
    assert_eq!(
        look(&mut done(), missing(), just_ended),
        Heard::StillRunning
    );
    let mut indexing = done();
    assert_eq!(look(&mut indexing, missing(), seen_within), Heard::News);
    assert!(is_lost(&indexing));
    let mut forgotten = Indexing::inherited(false, Some(name("d")));
    assert_eq!(look(&mut forgotten, missing(), EARLY), Heard::News);
    assert!(is_lost(&forgotten));
}

/// Else such a row would wait for ever.
#[test]
fn a_document_that_stays_missing_is_gone_whatever_its_operation_says() {
    let mut indexing = direct();
    look(&mut indexing, failure(FailureKind::Missing), EARLY);
    let heard = indexing.operation_answered(Ok(Running), TOO_LATE, &waits());
    assert_eq!(heard, Heard::News);
    assert!(is_lost(&indexing));
}

#[test]
fn a_failed_document_may_heal_for_two_minutes() {
    let mut indexing = direct();
    let failed = || document(DocumentState::Failed, Some(BYTES));
    let first = EARLY + SECOND;
    assert_eq!(look(&mut indexing, failed(), EARLY), Heard::StillRunning);
    assert!(indexing.document_has_failed());
    // Healing, it begins anew.
    look(&mut indexing, document(DocumentState::Pending, None), EARLY);
    assert!(!indexing.document_has_failed());
    assert_eq!(look(&mut indexing, failed(), first), Heard::StillRunning);
    let grace = first + waits().failed_grace;
    let last = grace - SECOND;
    assert_eq!(look(&mut indexing, failed(), last), Heard::StillRunning);
    assert_eq!(look(&mut indexing, failed(), grace), Heard::News);
    assert_eq!(indexing.next(&waits()), Step::Delete(name("d")));
    indexing.deleted(Ok(()), grace, &waits());
    assert!(
        matches!(ends(indexing.next(&waits())), End::Reject(cause) if cause.kind == "document")
    );
}

#[test]
fn the_operation_has_its_turn_where_the_document_does_not_settle_it() {
    let after = |answer: Result<Document, Failure>, age| {
        let mut indexing = direct();
        look(&mut indexing, answer, age);
        indexing
    };
    let pending = || document(DocumentState::Pending, None);
    // However old it has become since, and a look that was not let out says nothing.
    let until = std::time::Instant::now();
    for (answer, age) in [
        (pending(), LATE - SECOND),
        (failure(FailureKind::Skipped { until }), LATE),
    ] {
        assert_eq!(after(answer, age).next(&waits()), look_at("d"));
    }
    let unsettled = [
        (pending(), LATE),
        (document(DocumentState::Failed, None), EARLY),
        (failure(FailureKind::Missing), EARLY),
        (failure(FailureKind::Transient), EARLY),
    ];
    for (answer, age) in unsettled {
        let mut indexing = after(answer, age);
        assert_eq!(indexing.next(&waits()), Step::LookAtOperation);
        indexing.operation_answered(Ok(Running), age, &waits());
        assert_eq!(indexing.next(&waits()), look_at("d"), "by turns");
    }
}

#[test]
fn where_documents_make_no_sense_the_operations_word_has_to_do() {
    let senseless = || failure(FailureKind::BadAnswer);
    let mut indexing = direct();
    let document = Some(name("d"));
    indexing.operation_answered(Ok(Done { document }), EARLY, &waits());
    for _ in 0..3 {
        let heard = look(&mut indexing, senseless(), EARLY);
        assert!(matches!(heard, Heard::NoAnswer { .. }));
        assert_eq!(indexing.next(&waits()), look_at("d"));
    }
    assert_eq!(look(&mut indexing, senseless(), EARLY), Heard::News);
    assert_eq!(ends(indexing.next(&waits())), End::Indexed(name("d")));
}

/// Each of them could be made `indexed` without being there, or being whole.
#[test]
fn the_operations_word_does_not_do_for_what_may_be_gone_or_short() {
    let done = |mut indexing: Indexing| {
        let document = Some(name("d"));
        indexing.operation_answered(Ok(Done { document }), EARLY, &waits());
        indexing
    };
    let after = |answer| {
        let mut indexing = done(direct());
        look(&mut indexing, answer, EARLY);
        indexing
    };
    let inherited = done(Indexing::inherited(true, Some(name("d"))));
    let mut listed = import();
    listed.listed(Listed::Found(name("d")));
    let short = done(Indexing::submitted(true, Some(name("d")), Some(9)));
    let cases = [
        direct(),
        inherited,
        done(listed),
        short,
        after(failure(FailureKind::Missing)),
        after(document(DocumentState::Failed, None)),
    ];
    for mut indexing in cases {
        for _ in 0..10 {
            look(&mut indexing, failure(FailureKind::NotTheService), EARLY);
        }
        assert!(
            !matches!(indexing.next(&waits()), Step::End(_)),
            "{indexing:?}"
        );
    }
    // Other failures say nothing about how documents answer, and one sensible answer begins anew.
    let mut indexing = done(direct());
    for _ in 0..10 {
        look(&mut indexing, failure(FailureKind::BadAnswer), EARLY);
        look(&mut indexing, failure(FailureKind::BadAnswer), EARLY);
        look(&mut indexing, failure(FailureKind::BadAnswer), EARLY);
        look(&mut indexing, failure(FailureKind::Transient), EARLY);
    }
    assert_eq!(indexing.next(&waits()), look_at("d"));
}

#[test]
fn looks_without_an_answer_are_counted_until_there_is_one() {
    let mut indexing = direct();
    for in_a_row in 1..=3 {
        let heard = look(&mut indexing, failure(FailureKind::Transient), EARLY);
        assert!(matches!(heard, Heard::NoAnswer { in_a_row: n, .. } if n == in_a_row));
    }
    look(&mut indexing, document(DocumentState::Pending, None), EARLY);
    let heard = indexing.operation_answered(failure(FailureKind::Transient), EARLY, &waits());
    assert!(matches!(heard, Heard::NoAnswer { in_a_row: 1, .. }));
}

#[test]
fn without_news_for_half_an_hour_it_is_left_to_the_next_run() {
    let pending = || document(DocumentState::Pending, None);
    let unanswered = || failure(FailureKind::Transient);
    let half_an_hour = TOO_LATE - Duration::from_millis(1);
    assert_eq!(
        look(&mut direct(), pending(), half_an_hour),
        Heard::StillRunning
    );
    assert_eq!(
        look(&mut direct(), pending(), TOO_LATE),
        Heard::LeftToNextRun
    );
    let heard = look(&mut direct(), unanswered(), half_an_hour);
    assert!(matches!(heard, Heard::NoAnswer { .. }));
    assert_eq!(
        look(&mut direct(), unanswered(), TOO_LATE),
        Heard::LeftToNextRun
    );
    let heard = import().operation_answered(Ok(Running), TOO_LATE, &waits());
    assert_eq!(heard, Heard::LeftToNextRun);
    // An import whose listed document is gone has no name to look for.
    let mut ghost = import();
    ghost.listed(Listed::Found(name("ghost")));
    look(&mut ghost, failure(FailureKind::Missing), EARLY);
    let heard = ghost.operation_answered(Ok(Running), TOO_LATE, &waits());
    assert_eq!(heard, Heard::LeftToNextRun);
}

#[test]
fn a_stopping_run_and_what_concerns_every_file_leave_the_row_as_it_is() {
    let stopped = look(&mut direct(), failure(FailureKind::Stopped), EARLY);
    assert_eq!(stopped, Heard::LeftToNextRun);
    let refused = look(&mut direct(), failure(FailureKind::KeyRefused), EARLY);
    assert!(matches!(refused, Heard::StopsRun(_)));
}
