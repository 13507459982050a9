//! What a command has to show, on stdout.
//!
//! Promises: a reader that has seen enough is no error; a disk that is full is one.

use std::io::{BufWriter, ErrorKind, StdoutLock, Write};

use crate::error::{Error, Kind};

/// Whoever closed it has seen enough.
pub fn say(text: &str) -> Result<(), Error> {
    let mut out = Output::default();
    out.write(|stdout| stdout.write_all(text.as_bytes()))?;
    out.end()
}

/// Whether anybody reads what was written.
pub fn written(done: std::io::Result<()>) -> Result<bool, Error> {
    match done {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::new(
            Kind::System,
            "stdout",
            e.to_string(),
            "check where the output goes",
        )),
    }
}

/// Stdout, line by line, so that a list may be of any length.
pub struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
    pub is_closed: bool,
}

impl Default for Output {
    fn default() -> Output {
        Output {
            stdout: BufWriter::new(std::io::stdout().lock()),
            is_closed: false,
        }
    }
}

impl Output {
    pub fn line(&mut self, line: &str) -> Result<(), Error> {
        self.write(|stdout| writeln!(stdout, "{line}"))
    }

    pub fn write(
        &mut self,
        write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        if self.is_closed {
            return Ok(());
        }
        self.is_closed = !written(write(&mut self.stdout))?;
        Ok(())
    }

    /// Whether anybody reads it still.
    pub fn flush(mut self) -> Result<bool, Error> {
        self.write(|stdout| stdout.flush())?;
        Ok(!self.is_closed)
    }

    pub fn end(mut self) -> Result<(), Error> {
        self.write(|stdout| stdout.flush())
    }
}
