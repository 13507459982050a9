//! The errors that the sources can say, read out of their text: each `Error::new` with what its four arguments
//! are, also where a closure or a function stands between the words and it. What is no literal is `…`.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use objlib::error::Kind;

use self::code::{arguments, end_of_statement, literals};

mod code;

const ANY: &str = "…";
/// Between what one place may say.
const OR: &str = " *or* ";
/// A chain of definitions is followed so far.
const DEPTH_MAX: usize = 6;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub exit: u8,
    pub what: String,
    pub why: String,
    pub remedy: String,
}

/// All rows, read once.
pub fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let mut rows = Vec::new();
        each_file(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut rows,
        );
        rows
    })
}

/// Whether a row says this; one without words of its own says nothing. Mistakes on the command line are the
/// parser's.
pub fn is_known(error: &str, hint: &str) -> bool {
    let (Some(error), Some(hint)) = (error.strip_prefix("error: "), hint.strip_prefix("hint: "))
    else {
        return false;
    };
    hint.ends_with("--help` shows what can be typed")
        || rows().iter().any(|row| {
            let cause = format!("{}: {}", row.what, row.why);
            let words = format!("{cause}{}", row.remedy).replace(ANY, "");
            words.len() >= 8 && fits_any(&cause, error) && fits_any(&row.remedy, hint)
        })
}

/// Each error that stderr shows is in the table.
pub fn all_known(stderr: &str) {
    let lines: Vec<&str> = stderr.lines().collect();
    for two in lines.windows(2).filter(|two| two[0].starts_with("error: ")) {
        let known = is_known(two[0], two[1]);
        assert!(known, "not in docs/errors.md:\n{}\n{}", two[0], two[1]);
    }
}

fn fits_any(cell: &str, text: &str) -> bool {
    // Options are added to the commands of a hint.
    let mut pattern = String::new();
    for (n, part) in cell.split('`').enumerate() {
        let ends_command = n % 2 == 0
            && n > 0
            && pattern
                .rsplit('`')
                .next()
                .is_some_and(|c| c.starts_with("objlib "));
        pattern += match (n, ends_command) {
            (0, _) => "",
            (_, true) => "…`",
            (_, false) => "`",
        };
        pattern += part;
    }
    // `what` and `why` may each have alternatives: what they have in common is looked for.
    match pattern.contains(OR) {
        true => pattern.split(OR).any(|one| {
            let one = one.split(": ").last().unwrap_or(one);
            text.contains(
                one.split(ANY)
                    .max_by_key(|part| part.len())
                    .unwrap_or_default(),
            )
        }),
        false => fits(&pattern, text),
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split(ANY);
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last.is_some_and(|last| text.ends_with(last))
}

fn each_file(folder: &Path, rows: &mut Vec<Row>) {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            each_file(&path, rows);
        } else if name.ends_with(".rs")
            && !["tests.rs", "fuzz.rs", "simulation.rs", "doctor.rs"].contains(&&*name)
        {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let file = File {
                text: without_comments(text),
            };
            file.rows(rows);
        }
    }
}

fn without_comments(text: &str) -> String {
    let is_comment = |line: &&str| !line.trim_start().starts_with("//");
    let mut text: String = text
        .lines()
        .filter(is_comment)
        .map(|line| format!("{line}\n"))
        .collect();
    // A closure, or a tuple, that begins on a line of its own.
    for sign in ["=", "=>"] {
        while let Some(at) = text.find(&format!(" {sign}\n")) {
            let rest = text[at + sign.len() + 2..].trim_start().to_owned();
            text = format!("{} {sign} {rest}", &text[..at]);
        }
    }
    text
}

struct File {
    text: String,
}

/// A function or a closure, and where its body begins.
struct Callable {
    name: String,
    parameters: Vec<String>,
    is_method: bool,
    at: usize,
}

impl File {
    fn rows(&self, rows: &mut Vec<Row>) {
        for (at, arguments) in self.calls("Error::new", 0) {
            let before = &self.text[..at];
            if arguments.len() == 4 && !before.ends_with("io::") {
                self.expanded(at, &arguments, rows);
            }
        }
    }

    /// One row, or one for each call of the function that the words come through.
    fn expanded(&self, at: usize, arguments: &[String], rows: &mut Vec<Row>) {
        if let Some(all) = self.by_arms(at, arguments) {
            return all.iter().for_each(|said| push(said, rows));
        }
        let through = self.callable_around(at).filter(|callable| {
            let is_parameter =
                |argument: &String| callable.parameters.contains(&bare(argument).to_owned());
            arguments[2..].iter().any(is_parameter)
        });
        let Some(callable) = through else {
            return self.push(at, arguments, rows);
        };
        let mut calls = self.calls(&callable.name, 0);
        calls.retain(|(call, _)| !self.text[..*call].ends_with("fn ") && *call != callable.at);
        if calls.is_empty() {
            return self.push(at, arguments, rows);
        }
        for (call, given) in calls {
            let replaced = arguments.iter().map(|argument| {
                let k = callable.parameters.iter().position(|p| p == bare(argument));
                let k = k.map(|k| k - usize::from(callable.is_method));
                match k.and_then(|k| given.get(k)) {
                    Some(given) => (self.said(given, call, 0), true),
                    None => (argument.clone(), false),
                }
            });
            let replaced: Vec<(String, bool)> = replaced.collect();
            let said: Vec<String> = replaced
                .into_iter()
                .map(|(text, done)| match done {
                    true => text,
                    false => self.said(&text, at, 0),
                })
                .collect();
            push(&said, rows);
        }
    }

    /// `let (why, remedy) = match … { … => ("…", "…"), … };`: what is said in each arm.
    fn by_arms(&self, at: usize, arguments: &[String]) -> Option<Vec<Vec<String>>> {
        let place = self.text[..at]
            .rfind("let (")
            .filter(|place| self.is_near(*place, at))?;
        let rest = &self.text[place + 4..];
        let named: Vec<String> = code::arguments(rest);
        let is_named = |argument: &String| named.iter().any(|name| name == bare(argument));
        if !arguments.iter().any(is_named) {
            return None;
        }
        let arms = rest[..end_of_statement(rest)].match_indices("=> (");
        let arms = arms.map(|(arm, _)| code::arguments(&rest[arm + 3..]));
        let said = |arm: Vec<String>| -> Vec<String> {
            let said = arguments.iter().map(|argument| {
                let k = named.iter().position(|name| name == bare(argument));
                self.said(k.map_or(argument, |k| &arm[k]), at, 0)
            });
            said.collect()
        };
        Some(
            arms.filter(|arm| arm.len() == named.len())
                .map(said)
                .collect(),
        )
    }

    fn push(&self, at: usize, arguments: &[String], rows: &mut Vec<Row>) {
        let said: Vec<String> = arguments.iter().map(|one| self.said(one, at, 0)).collect();
        push(&said, rows);
    }

    /// What an expression at this place says.
    fn said(&self, expression: &str, at: usize, depth: usize) -> String {
        let expression = expression.trim().trim_start_matches('&').trim();
        if expression.starts_with("Kind::") || expression == ANY {
            return expression.to_owned();
        }
        if depth > DEPTH_MAX {
            return ANY.to_owned();
        }
        if let Some(inner) = expression.strip_prefix("format!") {
            return self.said(&arguments(inner)[0], at, depth + 1);
        }
        let found = literals(expression);
        if !found.is_empty() {
            // A helper's own words, such as a separator, are no cause.
            let mut found: Vec<String> = found.into_iter().filter(|text| text.len() > 2).collect();
            let arms = expression.matches("=> ").count();
            if expression.contains(".unwrap_or(\"") || arms > found.len() {
                found.insert(0, ANY.to_owned());
            }
            return match found.is_empty() {
                true => ANY.to_owned(),
                false => found.join(OR),
            };
        }
        let name = bare(expression);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return ANY.to_owned();
        }
        for start in [format!("let {name} = "), format!("const {name}: &str = ")] {
            let place = self.text[..at].rfind(&start).or_else(|| {
                let is_const = start.starts_with("const");
                is_const.then(|| self.text.find(&start)).flatten()
            });
            let is_seen =
                |place: usize| self.is_near(place, at) && !self.is_hidden(name, place, at);
            if let Some(place) = place.filter(|place| start.starts_with("const") || is_seen(*place))
            {
                let rest = &self.text[place + start.len()..];
                return self.said(&rest[..end_of_statement(rest)], place, depth + 1);
            }
        }
        ANY.to_owned()
    }

    /// Whether a closure between them has a parameter of this name.
    fn is_hidden(&self, name: &str, place: usize, at: usize) -> bool {
        let between = &self.text[place..at];
        [format!("|{name}|"), format!("|{name}:")]
            .iter()
            .any(|one| between.contains(one))
    }

    /// Without a function that begins between them.
    fn is_near(&self, place: usize, at: usize) -> bool {
        !self.text[place..at].contains("\nfn ") && !self.text[place..at].contains("\n    fn ")
    }

    /// The innermost function or closure with a name that this place is in.
    fn callable_around(&self, at: usize) -> Option<Callable> {
        let before = &self.text[..at];
        let closure = before
            .rfind(" = |")
            .filter(|place| self.is_near(*place, at));
        let closure = closure.filter(|place| {
            let rest = &self.text[*place..];
            place + end_of_statement(rest) > at
        });
        if let Some(place) = closure {
            let name = before[..place].rsplit("let ").next()?.to_owned();
            let parameters = before[place + 4..].split('|').next()?;
            return Some(Callable {
                name,
                parameters: names(parameters),
                is_method: false,
                at: place,
            });
        }
        let place = before.rfind("fn ")?;
        let open = place + self.text[place..].find('(')?;
        let name = self.text[place + 3..open].split('<').next()?.to_owned();
        let parameters = arguments(&self.text[open..]);
        let is_method = parameters
            .first()
            .is_some_and(|first| first.ends_with("self"));
        Some(Callable {
            name,
            parameters: names(&parameters.join(",")),
            is_method,
            at: place + 3,
        })
    }

    /// Where something is called, and with what.
    fn calls(&self, name: &str, from: usize) -> Vec<(usize, Vec<String>)> {
        let called = format!("{name}(");
        let is_whole = |at: usize| {
            let before = self.text[..at].chars().last();
            before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        };
        let all = self.text.match_indices(&called).map(|(at, _)| at);
        let all = all.filter(|at| *at >= from && is_whole(*at));
        all.map(|at| (at, arguments(&self.text[at + name.len()..])))
            .collect()
    }
}

fn push(said: &[String], rows: &mut Vec<Row>) {
    let kinds = [
        Kind::Usage,
        Kind::Database,
        Kind::Locked,
        Kind::Key,
        Kind::Store,
        Kind::Network,
        Kind::Unavailable,
        Kind::StorageFull,
        Kind::DailyQuota,
        Kind::Input,
        Kind::System,
        Kind::Bug,
    ];
    let kind = kinds
        .iter()
        .find(|kind| format!("Kind::{kind:?}") == said[0]);
    let row = Row {
        exit: kind.map_or(1, |kind| kind.exit_code()),
        what: said[1].clone(),
        why: said[2].clone(),
        remedy: said[3].clone(),
    };
    if [&row.what, &row.why, &row.remedy]
        .iter()
        .any(|text| *text != ANY)
        && !rows.contains(&row)
    {
        rows.push(row);
    }
}

/// A name without what is done to hand it on.
fn bare(expression: &str) -> &str {
    let name = expression.trim().trim_start_matches('&');
    let ends = [".to_owned()", ".to_string()", ".into()", ".clone()"];
    ends.iter()
        .fold(name, |name, end| name.strip_suffix(end).unwrap_or(name))
}

fn names(parameters: &str) -> Vec<String> {
    let name = |one: &str| one.split(':').next().unwrap_or_default().trim().to_owned();
    parameters
        .split(',')
        .map(name)
        .filter(|one| !one.is_empty())
        .collect()
}
