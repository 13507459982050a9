//! Threads, calls that are under way, and the streams.
//!
//! One thread reads and answers at once what needs no tool, so that a ping and a cancellation are heard while
//! tools work; calls of tools wait in a bounded queue for one of a few threads. Promises: whoever takes a call
//! out of `running` answers it, and nobody else; who does not read stops the reading as well, so that nothing
//! piles up; at the end of the input what is under way may still answer, for a short while.

use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded, select};
use serde_json::{Value, json};

use super::message::{
    BUSY, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Message, PARSE_ERROR, Params, Wrong,
    is_id, read,
};
use super::{Arguments, Call, Failed, ToolResult, Tools, definition, handshake, member};
use crate::error::{Error, Kind};
use crate::panic;
use crate::poison;
use crate::shutdown::{Shutdown, Stop};
use crate::text::{json_line, nearest};

/// Questions and filters are short; JSON takes some thirty times its length in memory.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Calls that run at once: an agent that asks several stores at a time waits for none of them.
const THREADS: usize = 4;
/// Calls that wait for a thread.
const WAITING_MAX: usize = 16;
/// How long calls may go on after the input has ended, to answer whoever still reads.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// How long a call that was stopped may take to let go of the lock.
const LAST_STEPS: Duration = Duration::from_secs(2);

/// Serves until the input ends or `shutdown` is told to stop. The thread that reads cannot be woken: it ends
/// with the process.
pub fn serve(
    tools: Box<dyn Tools>,
    input: impl BufRead + Send + 'static,
    output: Box<dyn Write + Send>,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let (jobs, waiting) = bounded(WAITING_MAX);
    let (ending, ended) = bounded(4);
    let (working, all_done) = bounded::<()>(0);
    let server = Arc::new(Server {
        tools,
        output: Mutex::new(output),
        running: Mutex::default(),
        jobs: Mutex::new(Some(jobs)),
        ending: ending.clone(),
    });
    shutdown.when_stopped(move || {
        let _ = ending.try_send(End::Stopped);
    });
    for _ in 0..THREADS {
        let (server, waiting, working) = (Arc::clone(&server), waiting.clone(), working.clone());
        spawn("tool", move || {
            let _working = working;
            waiting.iter().for_each(|job| server.work(job));
        })?;
    }
    drop(working);
    let reading = Arc::clone(&server);
    spawn("requests", move || reading.read(input))?;
    let end = ended.recv();
    // The queue ends behind the last call, and the threads with it.
    poison::lock(&server.jobs).take();
    if end == Ok(End::Input) {
        select! {
            recv(all_done) -> _ => {}
            recv(ended) -> _ => {}
            default(LAST_ANSWERS) => {}
        }
    }
    server.stop_all();
    let _ = all_done.recv_timeout(LAST_STEPS);
    Ok(())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(|_| ()).map_err(|e| {
        let why = format!("cannot be started: {e}");
        Error::new(
            Kind::System,
            "thread",
            why,
            "check the limits of this process",
        )
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There are no more requests.
    Input,
    /// Nobody takes an answer.
    Output,
    Stopped,
}

/// A call that waits for a thread.
struct Job {
    id: Value,
    is_stateless: bool,
    params: Params,
    shutdown: Arc<Shutdown>,
}

/// A call that nobody has answered or cancelled yet.
struct Running {
    id: Value,
    shutdown: Arc<Shutdown>,
}

struct Server {
    tools: Box<dyn Tools>,
    output: Mutex<Box<dyn Write + Send>>,
    running: Mutex<Vec<Running>>,
    /// `None`: no more calls are taken.
    jobs: Mutex<Option<Sender<Job>>>,
    ending: Sender<End>,
}

impl Server {
    fn read(&self, mut input: impl BufRead) {
        let mut line = Vec::new();
        while let Ok(Some(is_whole)) = next_line(&mut input, &mut line) {
            match is_whole {
                true if line.trim_ascii().is_empty() => {}
                true => self.take(&line),
                false => {
                    let why = format!("this line is longer than {LINE_BYTES_MAX} bytes");
                    self.send(&Wrong::new(PARSE_ERROR, why).answer(&Value::Null));
                }
            }
        }
        self.end(End::Input);
    }

    /// One line, which gets one answer at the most.
    fn take(&self, line: &[u8]) {
        match read(line) {
            Ok(Message::Request { id, method, params }) => {
                if let Some(answer) = self.answered(&id, &method, params).transpose() {
                    self.send(&match answer {
                        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
                        Err(wrong) => wrong.answer(&id),
                    });
                }
            }
            Ok(Message::Notification { method, params }) => {
                if method == "notifications/cancelled" {
                    self.cancel(member(&params, "requestId"));
                }
            }
            Ok(Message::Response) => {}
            Err((id, wrong)) => self.send(&wrong.answer(&id)),
        }
    }

    /// `None`: a tool answers, later.
    fn answered(&self, id: &Value, method: &str, params: Params) -> Result<Option<Value>, Wrong> {
        let is_stateless = handshake::is_stateless(&params)?;
        let mut result = match method {
            "initialize" => handshake::initialize(&params, &*self.tools)?,
            "server/discover" => handshake::discover(&*self.tools),
            "ping" => json!({}),
            "tools/list" => json!({"tools": self.tools.definitions()}),
            "tools/call" => {
                return self.call(id, params, is_stateless).map(|()| None);
            }
            _ => {
                let why = format!("this server has no method `{method}`");
                return Err(Wrong::new(METHOD_NOT_FOUND, why));
            }
        };
        if is_stateless {
            handshake::complete(&mut result);
        }
        Ok(Some(result))
    }

    /// Lets a call wait for a thread.
    fn call(&self, id: &Value, params: Params, is_stateless: bool) -> Result<(), Wrong> {
        let Some(name) = params.get("name").and_then(Value::as_str) else {
            return Err(Wrong::new(
                INVALID_PARAMS,
                "`tools/call` needs `name`, a text",
            ));
        };
        if definition(&*self.tools, name).is_none() {
            return Err(self.no_tool(name));
        }
        let arguments = member(&params, "arguments");
        if !arguments.is_null() && !arguments.is_object() {
            return Err(Wrong::new(
                INVALID_PARAMS,
                "`arguments` has to be an object",
            ));
        }
        let shutdown = Arc::new(Shutdown::new(Duration::ZERO));
        let job = Job {
            id: id.clone(),
            is_stateless,
            params,
            shutdown: Arc::clone(&shutdown),
        };
        let mut running = poison::lock(&self.running);
        if running.iter().any(|call| call.id == *id) {
            let why = "a call of this id is under way";
            return Err(Wrong::new(INVALID_REQUEST, why));
        }
        let jobs = poison::lock(&self.jobs);
        let Some(Ok(())) = jobs.as_ref().map(|jobs| jobs.try_send(job)) else {
            let why = "too many calls at once: wait for an answer, then call again";
            return Err(Wrong::new(BUSY, why));
        };
        running.push(Running {
            id: id.clone(),
            shutdown,
        });
        Ok(())
    }

    fn no_tool(&self, name: &str) -> Wrong {
        let all = self.tools.definitions().as_array();
        let names = all.into_iter().flatten();
        let names: Vec<&str> = names.filter_map(|tool| tool["name"].as_str()).collect();
        let near = nearest(name, names.iter().copied());
        let near = near.map_or(String::new(), |near| format!("did you mean `{near}`? "));
        let all = names.join("`, `");
        Wrong::new(
            INVALID_PARAMS,
            format!("there is no tool `{name}`: {near}There are `{all}`"),
        )
    }

    /// On a thread of its own.
    fn work(&self, job: Job) {
        // A call that was cancelled while it waited.
        if job.shutdown.is_stopping() {
            return;
        }
        let done = panic::caught("tool", || self.done(&job));
        let done = done.unwrap_or_else(|error| Err(error.into()));
        if !self.take_back(&job) {
            return;
        }
        let mut result = match done {
            Ok(ToolResult { text, structured }) => json!({
                "content": [{"type": "text", "text": text}], "structuredContent": structured,
                "isError": false}),
            Err(Failed { text, exit }) => json!({
                "content": [{"type": "text", "text": text}],
                "structuredContent": {"error": text, "exit": exit}, "isError": true}),
        };
        if job.is_stateless {
            handshake::complete(&mut result);
        }
        self.send(&json!({"jsonrpc": "2.0", "id": job.id, "result": result}));
    }

    fn done(&self, job: &Job) -> Result<ToolResult, Failed> {
        let name = job.params.get("name").and_then(Value::as_str);
        let tool = name.and_then(|name| definition(&*self.tools, name));
        let nothing = Params::new();
        let given = job.params.get("arguments").and_then(Value::as_object);
        let token = job.params.get("_meta").map(|meta| &meta["progressToken"]);
        let token = token.filter(|token| is_id(token));
        let mut progress = 0;
        self.tools.call(&mut Call {
            tool: name.unwrap_or_default(),
            arguments: Arguments::check(given.unwrap_or(&nothing), tool.unwrap_or(&Value::Null))?,
            shutdown: &job.shutdown,
            say: &mut |words| {
                // Nothing is said of a call that was cancelled.
                if let Some(token) = token.filter(|_| !job.shutdown.is_stopping()) {
                    progress += 1;
                    self.send(
                        &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
                        "progressToken": token, "progress": progress, "message": words}}),
                    );
                }
            },
        })
    }

    /// Whether it was still there, so that whoever asks may answer it.
    fn take_back(&self, job: &Job) -> bool {
        let mut running = poison::lock(&self.running);
        let place = running
            .iter()
            .position(|call| Arc::ptr_eq(&call.shutdown, &job.shutdown));
        place.map(|place| running.swap_remove(place)).is_some()
    }

    /// Stops a call; it is not answered any more. One that has just been answered is none.
    fn cancel(&self, id: &Value) {
        let mut running = poison::lock(&self.running);
        let place = running.iter().position(|call| call.id == *id);
        let call = place.map(|place| running.swap_remove(place));
        drop(running);
        if let Some(call) = call {
            call.shutdown.stop(Stop::Terminate);
        }
    }

    fn stop_all(&self) {
        let running = std::mem::take(&mut *poison::lock(&self.running));
        for call in running {
            call.shutdown.stop(Stop::Terminate);
        }
    }

    /// One line. A client that does not read is waited for.
    fn send(&self, message: &Value) {
        let line = json_line(message) + "\n";
        let mut output = poison::lock(&self.output);
        let sent = output
            .write_all(line.as_bytes())
            .and_then(|()| output.flush());
        drop(output);
        if sent.is_err() {
            self.end(End::Output);
        }
    }

    fn end(&self, end: End) {
        // If it is full, nobody has to be told any more.
        let _: Result<(), TrySendError<End>> = self.ending.try_send(end);
    }
}

/// The next line without its end; whether it is whole, or too long. `None`: there is none.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let mut limited = input.by_ref().take(LINE_BYTES_MAX + 1);
    if limited.read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") || line.len() as u64 <= LINE_BYTES_MAX {
        return Ok(Some(true));
    }
    // The rest of it is let pass, a buffer at a time.
    loop {
        let buffer = input.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let passed = end.map_or(buffer.len(), |end| end + 1);
        input.consume(passed);
        if passed == 0 || end.is_some() {
            return Ok(Some(false));
        }
    }
}

#[cfg(test)]
mod tests;
