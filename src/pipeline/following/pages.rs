//! Where in the listing of the store the documents stand that are followed.
//!
//! A listing shows documents in order of creation, twenty a page, and a page's token leads to the same place
//! whenever it is used (fact sheet 11). So each page that showed a followed document is remembered by its token,
//! and one request looks at all of them that stand on it. Behind the last page that was read, the *frontier*,
//! stand those that no page has shown yet. Pure: owns no thread, makes no request. Promises: never more pages
//! than uploads that are followed; what reading on from the frontier may cost in vain is bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::names::DocumentName;
use crate::state::{Bookmark, UploadId};

/// Documents on one page (fact sheet 11).
pub const PAGE_DOCUMENTS: u64 = 20;
/// Pages at the frontier that may be read in vain: they hold other documents, or none that is new.
const PAGES_IN_VAIN: u64 = 8;
/// Single looks that earn one more such page: so pages that never help add an eighth to them.
const LOOKS_A_PAGE: u64 = 8;
/// What single looks can earn.
const EARNED_MAX: u64 = 64;
/// A store that holds more than this before the frontier is not listed to save single looks.
const PAGES_TO_FRONTIER_MAX: u64 = 250;
/// Nor is one where it takes more pages than this part of the files that will be looked at.
const FILES_A_PAGE: u64 = 4;
/// Tokens in a row that the service refuses before none is used any more.
const REFUSED_MAX: u32 = 3;

/// One page, as it is asked for again.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Pages have rising numbers in the order of the listing.
    number: u64,
    /// `None`: the first page of the listing.
    pub token: Option<String>,
    /// Documents that stand before it in the listing.
    documents_before: u64,
}

/// Where an upload's document stands, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Position {
    /// Behind the frontier, or not to be seen in lists yet.
    #[default]
    Unlisted,
    OnPage(Arc<Page>),
    /// No page shows it: it is looked at by itself.
    Alone,
}

/// By what an upload can be looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum By {
    Page(Arc<Page>),
    /// That page is being read, since then.
    PageOnItsWay(Instant),
    /// By nothing: no look of any kind is let out before.
    NotBefore(Instant),
    Itself,
}

#[derive(Debug)]
pub struct Pages {
    /// In order of submission, which is about that of creation.
    unlisted: BTreeSet<(Instant, UploadId)>,
    on_page: BTreeMap<u64, BTreeSet<UploadId>>,
    names: HashMap<DocumentName, UploadId>,
    /// The page that is read next for documents which are new; `None`: that is given up.
    frontier: Option<Arc<Page>>,
    /// The page before it.
    before: Option<Arc<Page>>,
    /// Pages that are being read.
    reading: BTreeMap<u64, Instant>,
    /// What the frontier may still cost in vain, in single looks.
    credit: u64,
    refused: u32,
    failed: u32,
    /// Nothing is read before that: the last page had no usable answer.
    rests_until: Option<Instant>,
    /// Nothing is looked at before that: the last page was not let out.
    put_off_until: Option<Instant>,
}

impl Pages {
    /// `bookmark`: where an earlier run stopped reading; `documents`: what the store holds; `files`: how many
    /// documents will be looked for.
    pub fn new(bookmark: Option<Bookmark>, documents: u64, files: u64) -> Pages {
        let (token, documents_before) = match bookmark {
            Some(Bookmark { token, documents }) => (Some(token), documents),
            None => (None, 0),
        };
        let far = documents.saturating_sub(documents_before) / PAGE_DOCUMENTS;
        let is_worth_it =
            far <= PAGES_IN_VAIN || far <= PAGES_TO_FRONTIER_MAX.min(files / FILES_A_PAGE);
        Pages {
            unlisted: BTreeSet::new(),
            on_page: BTreeMap::new(),
            names: HashMap::new(),
            frontier: is_worth_it.then(|| {
                Arc::new(Page {
                    number: 0,
                    token,
                    documents_before,
                })
            }),
            before: None,
            reading: BTreeMap::new(),
            credit: (far + PAGES_IN_VAIN) * LOOKS_A_PAGE,
            refused: 0,
            failed: 0,
            rests_until: None,
            put_off_until: None,
        }
    }

    pub fn add(
        &mut self,
        upload: UploadId,
        submitted: Instant,
        place: &Position,
        name: &DocumentName,
    ) {
        self.names.insert(name.clone(), upload);
        match place {
            Position::Unlisted => drop(self.unlisted.insert((submitted, upload))),
            Position::OnPage(page) => {
                self.on_page.entry(page.number).or_default().insert(upload);
            }
            Position::Alone => {}
        }
    }

    pub fn remove(
        &mut self,
        upload: UploadId,
        submitted: Instant,
        place: &Position,
        name: &DocumentName,
    ) {
        if self.names.get(name) == Some(&upload) {
            self.names.remove(name);
        }
        match place {
            Position::Unlisted => drop(self.unlisted.remove(&(submitted, upload))),
            Position::OnPage(page) => {
                if let Some(members) = self.on_page.get_mut(&page.number) {
                    members.remove(&upload);
                    if members.is_empty() {
                        self.on_page.remove(&page.number);
                    }
                }
            }
            Position::Alone => {}
        }
    }

    /// The upload that is followed by this document.
    pub fn named(&self, name: &DocumentName) -> Option<UploadId> {
        self.names.get(name).copied()
    }

    pub fn by(&self, place: &Position, now: Instant) -> By {
        let page = match place {
            Position::OnPage(page) if self.refused < REFUSED_MAX => page,
            Position::Unlisted => match &self.frontier {
                Some(frontier) if self.credit >= LOOKS_A_PAGE => frontier,
                _ => return By::Itself,
            },
            Position::OnPage(_) | Position::Alone => return By::Itself,
        };
        if let Some(until) = self.put_off_until.filter(|until| now < *until) {
            return By::NotBefore(until);
        }
        if self.rests_until.is_some_and(|until| now < until) {
            return By::Itself;
        }
        match self.reading.get(&page.number) {
            Some(since) => By::PageOnItsWay(*since),
            None => By::Page(Arc::clone(page)),
        }
    }

    /// Those of whom this page will tell: who stand on it, and as many of the unlisted as fill the frontier.
    pub fn group(&self, page: &Page) -> Vec<UploadId> {
        let members = self.on_page.get(&page.number);
        let mut group: Vec<UploadId> = members.into_iter().flatten().copied().collect();
        if self.is_frontier(page) {
            let free = (PAGE_DOCUMENTS as usize).saturating_sub(group.len());
            group.extend(self.unlisted.iter().take(free).map(|(_, upload)| *upload));
        }
        group
    }

    /// Who stands first behind the frontier, unless that is being read.
    pub fn next_unlisted(&self) -> Option<UploadId> {
        let frontier = self.frontier.as_ref()?;
        let first = self.unlisted.first().map(|(_, upload)| *upload);
        first.filter(|_| !self.reading.contains_key(&frontier.number))
    }

    fn is_frontier(&self, page: &Page) -> bool {
        let frontier = self.frontier.as_ref();
        frontier.is_some_and(|frontier| frontier.number == page.number)
    }

    pub fn begin(&mut self, page: &Page, now: Instant) {
        self.reading.insert(page.number, now);
    }

    /// It was read: how many documents it showed, whether any of them was on no page before, and the
    /// token of the next page. Says whether the frontier has moved on.
    pub fn ended(
        &mut self,
        page: &Arc<Page>,
        shown: usize,
        is_news: bool,
        next: Option<String>,
    ) -> bool {
        self.reading.remove(&page.number);
        self.refused = 0;
        self.failed = 0;
        self.rests_until = None;
        self.put_off_until = None;
        if !self.is_frontier(page) {
            return false;
        }
        if !is_news {
            self.credit = self.credit.saturating_sub(LOOKS_A_PAGE);
        }
        let Some(token) = next.filter(|next| page.token.as_ref() != Some(next)) else {
            return false;
        };
        self.frontier = Some(Arc::new(Page {
            number: page.number + 1,
            token: Some(token),
            documents_before: page.documents_before + shown as u64,
        }));
        self.before = Some(Arc::clone(page));
        true
    }

    /// The throttle did not let it out, and would let no other look out until then.
    pub fn put_off(&mut self, page: &Page, until: Instant) {
        self.reading.remove(&page.number);
        self.put_off_until = Some(until);
    }

    /// It had no usable answer, and no page is read until then; how many in a row had none.
    pub fn failed(&mut self, page: &Page, until: Instant) -> u32 {
        self.reading.remove(&page.number);
        self.rests_until = Some(until);
        self.credit = self.credit.saturating_sub(LOOKS_A_PAGE);
        self.failed += 1;
        self.failed
    }

    /// The service does not take its token. The frontier begins at the page before, whose token it took, else
    /// at the first page where that is near, else it is given up.
    pub fn refused(&mut self, page: &Page) {
        self.reading.remove(&page.number);
        self.refused += 1;
        if !self.is_frontier(page) {
            return;
        }
        self.credit = self.credit.saturating_sub(LOOKS_A_PAGE);
        let is_near = page.documents_before <= PAGES_IN_VAIN * PAGE_DOCUMENTS;
        let number = page.number + 1;
        let again = match self.before.take() {
            _ if self.refused >= REFUSED_MAX => None,
            Some(before) => Some((before.token.clone(), before.documents_before)),
            None if page.token.is_some() && is_near => Some((None, 0)),
            None => None,
        };
        self.frontier = again.map(|(token, documents_before)| {
            Arc::new(Page {
                number,
                token,
                documents_before,
            })
        });
    }

    /// One was looked at by itself.
    pub fn looked_at_one(&mut self) {
        if self.credit < EARNED_MAX * LOOKS_A_PAGE {
            self.credit += 1;
        }
    }

    /// Where the next run begins to read.
    pub fn bookmark(&self) -> Option<Bookmark> {
        let frontier = self.frontier.as_ref()?;
        Some(Bookmark {
            token: frontier.token.clone()?,
            documents: frontier.documents_before,
        })
    }
}

/// A page that tells of so many costs each of them little.
const COMPANY: usize = 6;

/// What to do about an upload whose look is due, given when those of its group are.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    One,
    Page,
    Wait(Instant),
}

/// A request for a page that tells of one upload only is better spent on that one's own document, which is
/// smaller and never late. One that tells of several is worth waiting for until all are likely to be over, but
/// not beyond the `latest` moment of the one that is due. `company_until`: so long few wait for more to join them,
/// since each look takes the place of an upload.
pub fn choose(
    now: Instant,
    latest: Instant,
    company_until: Option<Instant>,
    group_likely: &[Instant],
) -> Choice {
    let joins_until = company_until.filter(|_| group_likely.len() < COMPANY);
    let until = match (group_likely, joins_until) {
        (_, Some(until)) => until,
        ([] | [_], None) => return Choice::One,
        (several, None) => latest.min(several.iter().copied().max().unwrap_or(now)),
    };
    match group_likely {
        _ if until > now => Choice::Wait(until),
        [] | [_] => Choice::One,
        _ => Choice::Page,
    }
}

#[cfg(test)]
mod tests;
