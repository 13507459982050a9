//! What the writer answers to a change.

/// A batch whose last file has its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchDone {
    pub batch: i64,
    pub number: i64,
    pub files: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub skipped: u64,
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// The row it made or touched; for `Queued` the first place in the queue that it gave away, or 0 if
    /// there is nothing left to queue; for `Purged` the last row, and for `MovesMatched` how many files it
    /// looked at, 0 if there are none left.
    pub row: i64,
    /// How many rows changed, where that is of interest.
    pub rows: u64,
    pub batch_done: Option<BatchDone>,
}

#[derive(Debug)]
pub enum Refusal {
    Sql(rusqlite::Error),
    /// The state machine lacks this transition, or the row is not there: our mistake.
    Illegal(String),
}

impl From<rusqlite::Error> for Refusal {
    fn from(e: rusqlite::Error) -> Refusal {
        Refusal::Sql(e)
    }
}
