//! What the program may ask of its database: statements that are declared, and nothing else.
//!
//! A file that needs SQL declares it at its top with `statements!`, which says of each statement how much of
//! the database it reads, and runs it with the methods of `Statement`. Promises: once a database is open no
//! other SQL reaches it (`tests/it/tidy.rs` sees to that), and no statement reads more than is declared of
//! it, however large the tables are (`explain.rs` does).

use std::borrow::Cow;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

/// The text of one statement, in parts, of which several statements may share some.
pub struct Statement(&'static [&'static str]);

/// Declares the statements of a file, each as `NAME: how much it reads => its parts, one after the other;`.
///
/// In tests the function `declared` lists them. A file whose list `explain.rs` does not ask for is an unused
/// function to the compiler, so none can be forgotten.
macro_rules! statements {
    ($($(#[$comment:meta])* $name:ident: $reads:expr => $($part:expr),+;)+) => {
        $(
            $(#[$comment])*
            const $name: $crate::state::statement::Statement =
                $crate::state::statement::Statement::new(&[$($part),+]);
        )+

        #[cfg(test)]
        pub(in crate::state) fn declared() -> Vec<$crate::state::tests::explain::Declared> {
            #[allow(unused_imports)]
            use $crate::state::tests::explain::{Declared, Reads::{All, Page, Single}};
            vec![$(Declared {
                file: file!(),
                name: stringify!($name),
                reads: $reads,
                sql: $name.text().into_owned(),
            }),+]
        }
    };
}
pub(super) use statements;

impl Statement {
    /// For `statements!` alone.
    pub(super) const fn new(parts: &'static [&'static str]) -> Statement {
        Statement(parts)
    }

    pub(super) fn text(&self) -> Cow<'static, str> {
        match self.0 {
            [whole] => Cow::Borrowed(whole),
            parts => Cow::Owned(parts.join(" ")),
        }
    }

    fn prepare<'c>(&self, conn: &'c Connection) -> rusqlite::Result<CachedStatement<'c>> {
        conn.prepare_cached(&self.text())
    }

    /// How many rows it changed.
    pub(super) fn run(&self, conn: &Connection, params: impl Params) -> rusqlite::Result<usize> {
        self.prepare(conn)?.execute(params)
    }

    /// Its only row.
    pub(super) fn one<T>(
        &self,
        conn: &Connection,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.prepare(conn)?.query_row(params, read)
    }

    /// Its first row, if it finds any.
    pub(super) fn first<T>(
        &self,
        conn: &Connection,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.one(conn, params, read).optional()
    }

    /// All of its rows, so it must be one that finds few.
    pub(super) fn rows<T>(
        &self,
        conn: &Connection,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.prepare(conn)?.query_map(params, read)?.collect()
    }

    /// One row after the other. The read transaction is open until the last one was taken.
    pub(super) fn each<E: From<rusqlite::Error>>(
        &self,
        conn: &Connection,
        params: impl Params,
        mut take: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut statement = self.prepare(conn)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            take(row)?;
        }
        Ok(())
    }
}
