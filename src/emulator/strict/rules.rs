//! The rules by which requests are refused, each of which can be switched off by its name.
//!
//! Strict is the default, as the service is; a program that is developed against this one may need less.

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// An upload that is not as long as it was announced. Loose: any length is taken.
    AnnouncedLength,
    /// Chunks that are too long or too short. Loose: taken as they are.
    Chunking,
    /// An ill-formed id of a document. Loose: 404, as if it were only missing.
    DocumentIds,
    /// A store with an unknown embedding model. Loose: any model is kept.
    EmbeddingModels,
    /// Numbers have 32 bits. Loose: they are kept as they were sent.
    Float32,
    /// Display names, metadata entries and their texts that are too many or too long.
    Limits,
    /// Types that File Search does not take.
    MimeTypes,
    /// Models that the documentation does not name. Loose: any name answers.
    Models,
    /// Pages larger than the largest. Loose: the largest is given.
    PageSize,
    /// Google Search or URL context beside file search. Loose: they are ignored.
    ToolMix,
    /// A negative number of passages. Loose: one.
    TopK,
    /// Fields that no message has. Loose: they are ignored.
    UnknownFields,
}

const RULES: [(Rule, &str); 12] = [
    (Rule::AnnouncedLength, "announced-length"),
    (Rule::Chunking, "chunking"),
    (Rule::DocumentIds, "document-ids"),
    (Rule::EmbeddingModels, "embedding-models"),
    (Rule::Float32, "float32"),
    (Rule::Limits, "limits"),
    (Rule::MimeTypes, "mime-types"),
    (Rule::Models, "models"),
    (Rule::PageSize, "page-size"),
    (Rule::ToolMix, "tool-mix"),
    (Rule::TopK, "top-k"),
    (Rule::UnknownFields, "unknown-fields"),
];

/// The rules that are switched off; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loose(u32);

impl Loose {
    pub const ALL: Loose = Loose(u32::MAX);

    /// # Errors
    /// What is wrong with the name, for a person.
    pub fn of(name: &str) -> Result<Loose, String> {
        if name == "all" {
            return Ok(Loose::ALL);
        }
        let known = RULES.iter().find(|(_, known)| *known == name);
        known
            .map(|(rule, _)| Loose(1 << *rule as u32))
            .ok_or_else(|| {
                let names: Vec<&str> = RULES.iter().map(|(_, name)| *name).collect();
                let like = nearest(name, names.iter().copied());
                format!(
                    "no rule is called that; the nearest is `{like}`; there are all, {}",
                    names.join(", ")
                )
            })
    }

    pub fn and(self, other: Loose) -> Loose {
        Loose(self.0 | other.0)
    }

    /// Whether this rule is switched off.
    pub fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
}

/// The name that has the fewest letters to be put in, taken out or replaced to become this one; nothing if
/// there are none.
pub fn nearest<'n>(to: &str, names: impl Iterator<Item = &'n str>) -> &'n str {
    names
        .min_by_key(|name| strsim::levenshtein(to, name))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_known_by_its_name_and_alone() {
        for (rule, name) in RULES {
            let loose = Loose::of(name).unwrap();
            assert!(loose.has(rule), "{name}");
            let others = RULES.iter().filter(|(other, _)| *other != rule);
            assert!(
                others.into_iter().all(|(other, _)| !loose.has(*other)),
                "{name}"
            );
            assert!(
                Loose::ALL.has(rule) && !Loose::default().has(rule),
                "{name}"
            );
        }
        let both = Loose::of("top-k")
            .unwrap()
            .and(Loose::of("models").unwrap());
        assert!(both.has(Rule::TopK) && both.has(Rule::Models) && !both.has(Rule::Limits));
    }

    #[test]
    fn an_unknown_rule_is_refused_with_the_nearest_one() {
        let why = Loose::of("unkown-field").unwrap_err();
        assert!(why.contains("`unknown-fields`"), "{why}");
        assert_eq!(
            nearest("eror_503", ["error_500", "error_503"].into_iter()),
            "error_503"
        );
    }
}
