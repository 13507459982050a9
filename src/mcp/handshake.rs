//! Versions of the protocol, and what a client is told of this server.
//!
//! Source: the schemas in the official SDK, `mcp-types` 2.3.0 (`mcp_types/version.py`, `_v2026_07_28`).

use serde_json::{Value, json};

use super::Tools;
use super::message::{INVALID_PARAMS, Params, UNSUPPORTED_VERSION, Wrong};

/// Revisions that begin with `initialize`, oldest first.
const HANDSHAKE: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// Of revisions without a handshake, each request says which it is of.
const STATELESS: &str = "2026-07-28";
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const SERVER_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// Whether a request is of a revision without a handshake.
///
/// # Errors
/// It is of one that is not spoken here.
pub fn is_stateless(params: &Params) -> Result<bool, Wrong> {
    let asked = params.get("_meta").and_then(|meta| meta.get(VERSION_KEY));
    match asked {
        None => Ok(false),
        Some(version) if version == STATELESS => Ok(true),
        Some(version) => Err(Wrong {
            data: json!({"supported": [STATELESS], "requested": version}),
            ..Wrong::new(
                UNSUPPORTED_VERSION,
                format!("this version is not spoken here: {STATELESS} is"),
            )
        }),
    }
}

/// The answer to `initialize`: the client's version where it is known, else the newest, which the client may
/// take or leave.
pub fn initialize(params: &Params, tools: &dyn Tools) -> Result<Value, Wrong> {
    let Some(asked) = params.get("protocolVersion").and_then(Value::as_str) else {
        let why = "`initialize` needs `protocolVersion`, a text";
        return Err(Wrong::new(INVALID_PARAMS, why));
    };
    let known = HANDSHAKE.iter().find(|version| **version == asked);
    let version = known.unwrap_or(&HANDSHAKE[HANDSHAKE.len() - 1]);
    Ok(
        json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server(),
              "instructions": tools.instructions()}),
    )
}

/// The answer to `server/discover`.
pub fn discover(tools: &dyn Tools) -> Value {
    json!({"supportedVersions": [STATELESS], "capabilities": {"tools": {}},
           "instructions": tools.instructions(), "_meta": {SERVER_KEY: server()}})
}

/// What every result of a revision without a handshake says besides. None is to be kept: whoever asks asks a
/// process of its own.
pub fn complete(result: &mut Value) {
    result["resultType"] = json!("complete");
    result["ttlMs"] = json!(0);
    result["cacheScope"] = json!("private");
}

fn server() -> Value {
    json!({"name": "objlib", "title": "objlib", "version": env!("CARGO_PKG_VERSION")})
}
