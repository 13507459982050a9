use super::*;
use std::time::Duration;

fn document(n: i64) -> DocumentName {
    DocumentName::new(format!("fileSearchStores/s/documents/d{n}"))
}

fn filled(pages: &mut Pages, uploads: std::ops::Range<i64>, now: Instant) {
    for n in uploads {
        pages.add(UploadId(n), now, &Position::Unlisted, &document(n));
    }
}

fn frontier(pages: &Pages, now: Instant) -> Arc<Page> {
    match pages.by(&Position::Unlisted, now) {
        By::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_waits_for_its_last_but_not_beyond_the_patience_of_its_first() {
    let now = Instant::now();
    let later = |ms| now + Duration::from_millis(ms);
    assert_eq!(choose(now, later(500), None, &[now]), Choice::One);
    let group = [now, later(200)];
    assert_eq!(
        choose(now, later(500), None, &group),
        Choice::Wait(later(200))
    );
    assert_eq!(
        choose(now, later(100), None, &group),
        Choice::Wait(later(100))
    );
    assert_eq!(choose(now, now, None, &group), Choice::Page);
    assert_eq!(choose(later(200), later(500), None, &group), Choice::Page);
    // Few wait for company, many have it.
    let (company, many) = (Some(later(900)), [now; COMPANY]);
    for few in [&many[..1], &many[1..]] {
        assert_eq!(choose(now, now, company, few), Choice::Wait(later(900)));
    }
    assert_eq!(choose(now, now, company, &many), Choice::Page);
    assert_eq!(choose(later(900), now, company, &[now]), Choice::One);
    assert_eq!(choose(later(900), now, company, &group), Choice::Page);
}

#[test]
fn an_empty_store_is_read_from_its_first_page_and_a_full_one_not_at_all() {
    let now = Instant::now();
    for (documents, files, reads) in [
        (0, 1, true),
        (179, 1, true),
        (180, 1, false),
        (4000, 799, false),
        (4000, 800, true),
        (100_000, u64::MAX, false),
    ] {
        let pages = Pages::new(None, documents, files);
        let by = pages.by(&Position::Unlisted, now);
        assert_eq!(by != By::Itself, reads, "{documents} {files}");
    }
}

#[test]
fn a_bookmark_leads_to_the_end_of_a_store_however_full_it_is() {
    let now = Instant::now();
    let bookmark = Bookmark {
        token: "t".into(),
        documents: 1_000_000,
    };
    let pages = Pages::new(Some(bookmark.clone()), 1_000_010, 1);
    assert_eq!(frontier(&pages, now).token.as_deref(), Some("t"));
    assert_eq!(pages.bookmark(), Some(bookmark));
}

#[test]
fn the_frontier_moves_with_every_full_page_and_stays_at_the_last() {
    let now = Instant::now();
    let mut pages = Pages::new(None, 0, 100);
    filled(&mut pages, 0..30, now);
    let first = frontier(&pages, now);
    assert_eq!(pages.group(&first).len(), 20);
    pages.begin(&first, now);
    assert_eq!(pages.by(&Position::Unlisted, now), By::PageOnItsWay(now));
    assert!(pages.ended(&first, 20, true, Some("a".into())));
    let second = frontier(&pages, now);
    assert_eq!(second.token.as_deref(), Some("a"));
    pages.begin(&second, now);
    assert!(!pages.ended(&second, 10, true, None));
    assert_eq!(frontier(&pages, now), second);
    let bookmark = pages.bookmark().unwrap();
    assert_eq!((bookmark.token.as_str(), bookmark.documents), ("a", 20));
}

#[test]
fn pages_of_other_documents_are_paid_for_by_single_looks() {
    let now = Instant::now();
    let mut pages = Pages::new(None, 0, 1000);
    let mut read = 0;
    let mut read_all = |pages: &mut Pages| {
        while let By::Page(page) = pages.by(&Position::Unlisted, now) {
            pages.begin(&page, now);
            read += 1;
            assert!(read < 1000, "without end");
            pages.ended(&page, 20, false, Some(format!("t{read}")));
        }
        read
    };
    let mut earn = |pages: &mut Pages, looks: u64| {
        (0..looks).for_each(|_| pages.looked_at_one());
        read_all(pages)
    };
    let all = PAGES_IN_VAIN;
    assert_eq!(earn(&mut pages, 0), all);
    assert_eq!(earn(&mut pages, 2 * LOOKS_A_PAGE), all + 2);
    // However many, they earn no more than so much, and nothing beside it.
    assert_eq!(earn(&mut pages, 10_000), all + 2 + EARNED_MAX);
    assert_eq!(earn(&mut pages, LOOKS_A_PAGE - 1), all + 2 + EARNED_MAX);
}

#[test]
fn pages_with_something_new_cost_nothing() {
    let now = Instant::now();
    let mut pages = Pages::new(None, 0, 1000);
    for read in 0..5 * PAGES_IN_VAIN {
        let page = frontier(&pages, now);
        assert!(pages.ended(&page, 20, true, Some(format!("t{read}"))));
    }
    assert_eq!(pages.bookmark().unwrap().documents, 800);
}

#[test]
fn who_stands_on_a_page_is_looked_at_by_it_and_waits_while_it_is_read() {
    let now = Instant::now();
    let mut pages = Pages::new(None, 0, 100);
    let page = frontier(&pages, now);
    let place = Position::OnPage(Arc::clone(&page));
    assert_eq!(pages.by(&place, now), By::Page(Arc::clone(&page)));
    pages.begin(&page, now);
    assert_eq!(pages.by(&place, now), By::PageOnItsWay(now));
    assert_eq!(pages.by(&Position::Alone, now), By::Itself);
}

#[test]
fn a_page_tells_of_who_stands_on_it_and_only_the_frontier_of_the_unlisted() {
    let now = Instant::now();
    let mut pages = Pages::new(None, 0, 100);
    let first = frontier(&pages, now);
    for n in 0..3 {
        let place = Position::OnPage(Arc::clone(&first));
        pages.add(UploadId(n), now, &place, &document(n));
    }
    filled(&mut pages, 3..33, now);
    let ids = |uploads: std::ops::Range<i64>| uploads.map(UploadId).collect::<Vec<_>>();
    assert_eq!(pages.group(&first), ids(0..20));
    pages.ended(&first, 20, true, Some("a".into()));
    assert_eq!(pages.group(&first), ids(0..3));
    let second = frontier(&pages, now);
    assert_eq!(pages.group(&second), ids(3..23));
    // Another look at the first does not move the frontier.
    assert!(!pages.ended(&first, 20, true, Some("b".into())));
    assert_eq!(frontier(&pages, now), second);
    // Nor does a page whose token was refused tell of the unlisted any more.
    pages.refused(&second);
    assert_eq!(pages.group(&second), []);
}

#[test]
fn after_a_page_without_an_answer_none_is_read_for_a_while() {
    let now = Instant::now();
    const SECOND: Duration = Duration::from_secs(1);
    let later = now + SECOND;
    let mut pages = Pages::new(None, 0, 100);
    let page = frontier(&pages, now);
    pages.begin(&page, now);
    pages.put_off(&page, later);
    let just_before = later - Duration::from_millis(1);
    // Another look would not be let out either.
    let waits = By::NotBefore(later);
    assert_eq!(pages.by(&Position::Unlisted, just_before), waits);
    assert_eq!(frontier(&pages, later), page);
    for in_a_row in 1..=3 {
        assert_eq!(pages.failed(&page, later + SECOND), in_a_row);
    }
    assert_eq!(pages.by(&Position::Unlisted, later), By::Itself);
    pages.ended(&page, 0, true, None);
    assert_eq!(frontier(&pages, now), page);
    // Those without an answer are paid for as well, and counted anew.
    for in_a_row in 1..=PAGES_IN_VAIN as u32 - 3 {
        assert_eq!(frontier(&pages, later), page);
        assert_eq!(pages.failed(&page, later), in_a_row);
    }
    assert_eq!(pages.by(&Position::Unlisted, later), By::Itself);
}

#[test]
fn a_listing_that_goes_in_circles_is_not_followed() {
    let now = Instant::now();
    let mut pages = Pages::new(None, 0, 1000);
    let first = frontier(&pages, now);
    assert!(pages.ended(&first, 20, true, Some("a".into())));
    let second = frontier(&pages, now);
    assert!(!pages.ended(&second, 20, true, Some("a".into())));
}

#[test]
fn a_refused_token_leads_back_and_three_in_a_row_to_none() {
    let now = Instant::now();
    let mut pages = Pages::new(None, 0, 1000);
    for token in ["a", "b"] {
        let page = frontier(&pages, now);
        pages.ended(&page, 20, true, Some(token.into()));
    }
    let refused = frontier(&pages, now);
    pages.refused(&refused);
    assert_eq!(frontier(&pages, now).token.as_deref(), Some("a"));
    pages.refused(&frontier(&pages, now));
    assert_eq!(frontier(&pages, now).token, None);
    pages.refused(&frontier(&pages, now));
    assert_eq!(pages.by(&Position::Unlisted, now), By::Itself);
    assert_eq!(pages.by(&Position::OnPage(refused), now), By::Itself);
}

#[test]
fn what_leaves_leaves_no_trace() {
    let now = Instant::now();
    let mut pages = Pages::new(None, 0, 1000);
    let page = frontier(&pages, now);
    for place in [Position::Unlisted, Position::OnPage(page), Position::Alone] {
        pages.add(UploadId(1), now, &place, &document(1));
        assert_eq!(pages.named(&document(1)), Some(UploadId(1)));
        pages.remove(UploadId(1), now, &place, &document(1));
        assert_eq!(pages.named(&document(1)), None);
    }
    assert!(pages.unlisted.is_empty() && pages.on_page.is_empty() && pages.names.is_empty());
}

#[test]
fn a_bookmark_that_is_refused_leads_to_the_first_page_where_that_is_near() {
    let now = Instant::now();
    let near = PAGES_IN_VAIN * PAGE_DOCUMENTS;
    for (documents, is_near) in [(near, true), (near + 1, false)] {
        let token = "t".to_owned();
        let mut pages = Pages::new(Some(Bookmark { token, documents }), documents, 1000);
        pages.refused(&frontier(&pages, now));
        match is_near {
            true => assert_eq!(frontier(&pages, now).token, None),
            false => assert_eq!(pages.by(&Position::Unlisted, now), By::Itself),
        }
        // There is none before the first.
        if is_near {
            pages.refused(&frontier(&pages, now));
            assert_eq!(pages.by(&Position::Unlisted, now), By::Itself);
        }
    }
}

#[test]
fn a_page_before_is_no_way_back_once_three_tokens_were_refused() {
    let now = Instant::now();
    let mut pages = Pages::new(None, 0, 1000);
    let first = frontier(&pages, now);
    pages.ended(&first, 20, true, Some("a".into()));
    let second = frontier(&pages, now);
    pages.refused(&first);
    pages.refused(&first);
    assert_eq!(frontier(&pages, now), second);
    pages.refused(&second);
    assert_eq!(pages.by(&Position::Unlisted, now), By::Itself);
}
