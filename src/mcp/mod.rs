//! The Model Context Protocol over two streams: lines of JSON-RPC 2.0 in and out, without an async runtime.
//!
//! Owns the reading thread and a few threads that tools run on; knows no tool, only the trait `Tools`.
//! Promises: whatever a line holds, it is answered at most once, and a request exactly once unless it was
//! cancelled; nothing but messages of the protocol is written; what waits is bounded, whoever does not read.
//!
//! Nothing is remembered of a session: the handshake of the revisions up to 2025-11-25 settles a version that
//! changes nothing here, and a request of the revision 2026-07-28 says by itself that it is one.

/// A line becomes a message, or an error of the protocol.
mod message;

/// Versions, and what a client is told of this server.
mod handshake;

/// Threads, calls that are under way, and the streams.
mod server;

/// What a tool was asked with, held against its schema.
mod arguments;

pub use arguments::Arguments;
pub use server::serve;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::shutdown::Shutdown;

/// The tools of a server.
pub trait Tools: Send + Sync {
    /// What a model should know before it calls any.
    fn instructions(&self) -> &str;

    /// Their definitions, as `tools/list` gives them: an array of objects with `name`, `inputSchema` and so on.
    fn definitions(&self) -> &Value;

    /// # Errors
    /// What the model is told, so that it can do better.
    fn call(&self, call: &mut Call<'_>) -> Result<ToolResult, Failed>;
}

/// A call of a tool that exists, with arguments that fit its schema.
pub struct Call<'a> {
    pub tool: &'a str,
    pub arguments: Arguments<'a>,
    /// Stops when the call is cancelled, or the server ends.
    pub shutdown: &'a Arc<Shutdown>,
    /// Shown while it goes on, to a client that has asked for it.
    pub say: &'a mut dyn FnMut(&str),
}

/// What a tool found out: for a model, and for a program.
pub struct ToolResult {
    pub text: String,
    pub structured: Value,
}

/// Why a tool did not do what it was asked.
pub struct Failed {
    /// One line: the thing, the cause, what to do.
    pub text: String,
    /// The exit code of the command that does the same.
    pub exit: u8,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed {
            text: error.to_string(),
            exit: error.kind.exit_code(),
        }
    }
}

/// The definition of a tool, by its name.
fn definition<'d>(tools: &'d dyn Tools, name: &str) -> Option<&'d Value> {
    let all = tools.definitions().as_array()?;
    all.iter().find(|tool| tool["name"] == name)
}

/// A member of an object, or nothing.
fn member<'m>(object: &'m Map<String, Value>, name: &str) -> &'m Value {
    object.get(name).unwrap_or(&Value::Null)
}
