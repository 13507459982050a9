//! The text of a rules file, checked: each mistake with its line.
//!
//! What can be wrong on its own is kept as raw JSON, a part of the text, until it is looked at; so its place
//! is known.

use std::collections::{BTreeSet, HashMap};

use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::entry::{self, Flat, Keyed, json_error, nfc};
use super::{Captured, EXPRESSION_BYTES_MAX, Form, GROUPS_MAX, RULES_BYTES_MAX, Rule, RulesError};
use crate::globs::{BadGlob, Given, Globs};
use crate::identity::MetadataEntry;

const MEND_EXPRESSION: &str = "mend it; docs/metadata.md says what there is";
/// What an expression in JSON lacks more often than anything.
const DOUBLE_BACKSLASH: &str = r#"in JSON write a backslash twice: "\\." or "\\d""#;
const MEND_JSON: &str = "mend it; docs/metadata.md shows a rules file";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm<'t> {
    /// For editors.
    #[serde(rename = "$schema")]
    _schema: Option<String>,
    #[serde(borrow)]
    rules: &'t RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleForm<'t> {
    #[serde(borrow)]
    path: Option<&'t RawValue>,
    #[serde(borrow)]
    only: Option<&'t RawValue>,
    #[serde(borrow)]
    except: Option<&'t RawValue>,
    #[serde(borrow, default)]
    entries: Keyed<&'t RawValue>,
    #[serde(borrow, default)]
    constants: Keyed<&'t RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryForm {
    group: String,
    #[serde(default, rename = "as")]
    form: FormName,
    separator: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum FormName {
    #[default]
    String,
    Number,
    List,
}

pub fn rules(text: &str) -> Result<Vec<Rule>, RulesError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > RULES_BYTES_MAX {
        let reason = format!("{} bytes, {RULES_BYTES_MAX} is the limit", text.len());
        return Err(wrong(1, reason, "give fewer rules"));
    }
    let text = Text::new(text);
    let object = text.text.trim_start_matches([' ', '\t', '\r', '\n']);
    let file: FileForm = text.form("the file", object)?;
    let raw_rules: Vec<&RawValue> = text.read(file.rules.get())?;
    if raw_rules.is_empty() {
        let line = text.line(file.rules.get());
        return Err(wrong(line, "there is no rule in it", "give it a rule"));
    }
    let mut givers = Givers::default();
    raw_rules
        .into_iter()
        .map(|raw| text.rule(raw.get(), &mut givers))
        .collect()
}

fn wrong(line: usize, reason: impl Into<String>, remedy: &'static str) -> RulesError {
    RulesError {
        line,
        reason: reason.into(),
        remedy,
    }
}

/// The text of the file. What its functions are given is a part of it.
struct Text<'t> {
    text: &'t str,
    /// Where its lines end.
    ends: Vec<usize>,
}

impl<'t> Text<'t> {
    fn new(text: &'t str) -> Text<'t> {
        let ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Text { text, ends }
    }

    /// In which line the part begins, from 1.
    fn line(&self, part: &str) -> usize {
        let offset = part.as_ptr() as usize - self.text.as_ptr() as usize;
        1 + self.ends.partition_point(|&end| end < offset)
    }

    fn read<T: Deserialize<'t>>(&self, part: &'t str) -> Result<T, RulesError> {
        serde_json::from_str(part).map_err(|e| {
            let (line, why) = json_error(&e);
            let remedy = match why == "invalid escape" {
                true => DOUBLE_BACKSLASH,
                false => MEND_JSON,
            };
            wrong(self.line(part) + line - 1, why, remedy)
        })
    }

    /// A form with named fields. Alone it would be read from a bare list of their values as well.
    fn form<T: Deserialize<'t>>(&self, what: &str, part: &'t str) -> Result<T, RulesError> {
        match part.as_bytes().first() {
            Some(b'{') | None => self.read(part),
            Some(_) => {
                let reason = format!("{what} is not an object");
                Err(wrong(self.line(part), reason, MEND_JSON))
            }
        }
    }

    fn rule(&self, part: &'t str, givers: &mut Givers) -> Result<Rule, RulesError> {
        let line = self.line(part);
        let form: RuleForm = self.form("the rule", part)?;
        if form.entries.0.is_empty() && form.constants.0.is_empty() {
            let remedy = "give it entries or constants";
            return Err(wrong(line, "the rule gives nothing", remedy));
        }
        let only = self.globs(form.only)?;
        let except = self.globs(form.except)?;
        let scope = self.scope(line, &only, &except)?;
        let expression = match form.path {
            Some(raw) => Some(self.expression(raw.get())?),
            None => None,
        };
        for (key, raw) in form.entries.0.iter().chain(&form.constants.0) {
            let given = (values(&only), values(&except), key.clone());
            givers.add(given, self.line(raw.get()))?;
        }
        let captured = self.captured(form.entries, expression.as_ref())?;
        if let Some(Part { line, value }) = &expression {
            let is_used = |group: &&str| captured.iter().any(|entry| entry.group == **group);
            if let Some(unused) = value.capture_names().flatten().find(|g| !is_used(g)) {
                let reason = format!("no entry uses the group {unused}");
                return Err(wrong(*line, reason, "use it, or make it (?:…)"));
            }
        }
        Ok(Rule {
            line,
            scope,
            expression: expression.map(|part| part.value),
            captured,
            constants: self.constants(form.constants)?,
        })
    }

    fn globs(&self, raw: Option<&'t RawValue>) -> Result<Vec<Part<String>>, RulesError> {
        let Some(raw) = raw else {
            return Ok(Vec::new());
        };
        let globs: Vec<&RawValue> = self.read(raw.get())?;
        if globs.is_empty() {
            let line = self.line(raw.get());
            return Err(wrong(line, "no globs", "give one, or leave the field out"));
        }
        let part = |raw: &&'t RawValue| {
            let line = self.line(raw.get());
            let value = nfc(self.read(raw.get())?);
            Ok(Part { line, value })
        };
        globs.iter().map(part).collect()
    }

    /// `line`: where to look if no single glob is to blame.
    fn scope(
        &self,
        line: usize,
        only: &[Part<String>],
        except: &[Part<String>],
    ) -> Result<Globs, RulesError> {
        if let Some(Part { line, value }) = only.iter().find(|part| part.value.ends_with('/')) {
            let reason = format!("the glob {value:?} is for folders, and a rule is for files");
            return Err(wrong(*line, reason, "add ** for what is below them"));
        }
        let scope = Globs::new(&values::<Vec<_>>(only), &values::<Vec<_>>(except));
        scope.map_err(|BadGlob { glob, why }| {
            let (parts, text) = match glob {
                Some(Given::Include(glob)) => (only, glob),
                Some(Given::Exclude(glob)) => (except, glob),
                None => return wrong(line, why, "give fewer or simpler globs"),
            };
            let part = parts.iter().find(|part| part.value == text);
            let line = part.map_or(line, |part| part.line);
            wrong(line, why, "give one like \"*.md\" or \"drafts/**\"")
        })
    }

    /// Anchored at both ends. First it has to be whole by itself: `a)|(b` is not.
    fn expression(&self, part: &'t str) -> Result<Part<Regex>, RulesError> {
        let line = self.line(part);
        let given = nfc(self.read(part)?);
        let build = |expression: &str| {
            RegexBuilder::new(expression)
                .size_limit(EXPRESSION_BYTES_MAX)
                .build()
        };
        let bad = |reason, remedy| Err(wrong(line, format!("the expression: {reason}"), remedy));
        match build(&given).and_then(|_| build(&format!("^(?:{given})$"))) {
            Ok(value) if value.captures_len() - 1 > GROUPS_MAX => {
                let groups = value.captures_len() - 1;
                let reason = format!("{groups} groups, {GROUPS_MAX} is the limit");
                bad(reason, "make those that no entry uses (?:…)")
            }
            Ok(value) => Ok(Part { line, value }),
            Err(e) => bad(e.to_string(), MEND_EXPRESSION),
        }
    }

    fn captured(
        &self,
        entries: Keyed<&'t RawValue>,
        expression: Option<&Part<Regex>>,
    ) -> Result<Vec<Captured>, RulesError> {
        let entry = |(key, raw): (String, &'t RawValue)| {
            let line = self.line(raw.get());
            let EntryForm {
                group,
                form,
                separator,
            } = self.form(&format!("the entry {key}"), raw.get())?;
            let Some(Part { value, .. }) = expression else {
                let reason = format!("{key} is to come from a group, and the rule has no path");
                return Err(wrong(
                    line,
                    reason,
                    "give the rule a path, or make it a constant",
                ));
            };
            if !value.capture_names().flatten().any(|name| name == group) {
                let reason = format!("{key} is to come from the group {group}, which path lacks");
                return Err(wrong(line, reason, "name it in path: (?<name>…)"));
            }
            let form = match (form, separator) {
                (FormName::List, None) => Form::List {
                    separator: ",".to_owned(),
                },
                (FormName::List, Some(separator)) if !separator.is_empty() => Form::List {
                    separator: nfc(separator),
                },
                (FormName::String, None) => Form::Text,
                (FormName::Number, None) => Form::Number,
                (_, Some(_)) => {
                    let reason = format!("a separator that separates nothing in {key}");
                    return Err(wrong(line, reason, "give one to a list, not empty"));
                }
            };
            Ok(Captured { key, group, form })
        };
        entries.0.into_iter().map(entry).collect()
    }

    fn constants(&self, given: Keyed<&'t RawValue>) -> Result<Vec<MetadataEntry>, RulesError> {
        let constant = |(key, raw): (String, &'t RawValue)| {
            let Flat(value) = self.read(raw.get())?;
            match entry::fit(value) {
                Ok(value) => Ok(MetadataEntry { key, value }),
                Err(why) => {
                    let reason = format!("{key}: {why}");
                    Err(wrong(
                        self.line(raw.get()),
                        reason,
                        "give what fits, or nothing",
                    ))
                }
            }
        };
        given.0.into_iter().map(constant).collect()
    }
}

/// Something, and the line in which it stands.
struct Part<T> {
    line: usize,
    value: T,
}

fn values<C: FromIterator<String>>(parts: &[Part<String>]) -> C {
    parts.iter().map(|part| part.value.clone()).collect()
}

/// In which line a key is given to the files of a scope: the sets of globs, and the key.
#[derive(Default)]
struct Givers(HashMap<(Globbed, Globbed, String), usize>);

type Globbed = BTreeSet<String>;

impl Givers {
    fn add(&mut self, given: (Globbed, Globbed, String), line: usize) -> Result<(), RulesError> {
        let key = given.2.clone();
        match self.0.insert(given, line) {
            None => Ok(()),
            Some(first) => {
                let reason = format!("{key} is given to the same files in line {first} already");
                let remedy =
                    "give the rules different globs in only or except, or the key one source";
                Err(wrong(line, reason, remedy))
            }
        }
    }
}
