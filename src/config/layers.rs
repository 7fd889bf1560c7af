//! The YAML layers a configuration is made of, flattened to dotted keys that remember where they were written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Location, MessageFormatter, Spanned, UserMessageFormatter};

use crate::error::{Error, Result};

/// Keys of the reference implementation that have no meaning here yet: a key, or a prefix ending in `_`.
const NOT_YET: [(&str, &str); 3] = [
    ("loss.perceptual_weight", "the LPIPS loss is"),
    ("loss.lpips_", "the LPIPS loss is"),
    ("loss.disc_", "the discriminator and its loss are"),
];

/// Similarity (normalised Damerau-Levenshtein) from which an unknown key is taken for a misspelt one.
const SIMILAR: f64 = 0.6;

/// A value and where it was written.
struct Entry {
    value: Value,
    origin: String,
}

/// Layers merged so far, by dotted key.
pub(super) struct Layers {
    entries: BTreeMap<String, Entry>,
    /// Keys that may be null: those whose default is.
    nullable: Vec<String>,
}

impl Layers {
    /// The lowest layer, `text` read from `name`: it defines which keys there are.
    pub(super) fn new(text: &str, name: &str) -> Result<Layers> {
        let entries: BTreeMap<_, _> = flatten(text, name)?.into_iter().collect();
        let nullable = entries.iter().filter(|(_, entry)| entry.value.is_null()).map(|(key, _)| key.clone()).collect();
        Ok(Layers { entries, nullable })
    }

    /// Lays the YAML `text` read from the file `name` over what is there.
    pub(super) fn add(&mut self, text: &str, name: &str) -> Result<()> {
        for (key, entry) in flatten(text, name)? {
            // A section whose keys are all commented out reads as null.
            let empty_section = entry.value.is_null() && self.sections().contains(&key.as_str());
            if !empty_section {
                self.assign(key, entry)?;
            }
        }
        Ok(())
    }

    /// Lays one `section.key=value` over what is there; the value is typed by YAML's rules.
    pub(super) fn set(&mut self, assignment: &str) -> Result<()> {
        let origin = format!("--set {assignment}");
        let Some((key, text)) = assignment.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
            return Err(Error::Config(format!("{origin}: expected section.key=value")));
        };
        let yaml: Spanned<Yaml> = parse(text).map_err(|(_, message)| Error::Config(format!("{origin}: {message}")))?;
        let mut assignments = Vec::new();
        collect(key.trim(), yaml.value, origin.clone(), &|_| origin.clone(), &mut assignments);
        assignments.into_iter().try_for_each(|(key, entry)| self.assign(key, entry))
    }

    fn assign(&mut self, key: String, entry: Entry) -> Result<()> {
        if let Some(known) = self.entries.get_mut(&key) {
            *known = entry;
            return Ok(());
        }
        let message = match self.children(&key) {
            keys if keys.is_empty() => self.unknown(&key),
            keys => format!("{key} is a section, with the keys {}", keys.join(", ")),
        };
        Err(Error::Config(format!("{}: {message}", entry.origin)))
    }

    /// Reads the merged tree into `T`.
    pub(super) fn deserialize<T: DeserializeOwned>(&self) -> Result<T> {
        let mut tree = Value::Object(Default::default());
        for (key, entry) in &self.entries {
            *leaf(&mut tree, key) = entry.value.clone();
        }
        serde_path_to_error::deserialize(&tree).map_err(|error| {
            let path = error.path().to_string();
            let (key, index) = path.split_once('[').unwrap_or((&path, ""));
            let value = &self.entries.get(key).map_or(&Value::Null, |entry| &entry.value);
            let value =
                index.trim_end_matches(']').parse().ok().and_then(|index: usize| value.get(index)).unwrap_or(value);
            let mut message = error.inner().to_string();
            if message.ends_with("expected string or map") {
                // An enum: asked with a text, serde lists its names.
                *leaf(&mut tree, key) = value.to_string().into();
                message = serde_json::from_value::<T>(tree.clone()).err().map_or(message, |error| error.to_string());
            }
            let or_null = if self.nullable.iter().any(|known| known == key) { " or null" } else { "" };
            self.error_at(&path, &format!("must be {}{or_null}, not {}", expected(&message), describe(value)))
        })
    }

    /// An error about the value at `path`, a key with or without an index, which says where the value was written.
    pub(super) fn error_at(&self, path: &str, message: &str) -> Error {
        let key = path.split('[').next().unwrap_or(path);
        let origin = self.entries.get(key).map_or(String::new(), |entry| format!("{}: ", entry.origin));
        Error::Config(format!("{origin}{path} {message}"))
    }

    /// The keys directly or further beneath `section`, without its name.
    fn children(&self, section: &str) -> Vec<&str> {
        self.entries.keys().filter_map(|key| key.strip_prefix(section)?.strip_prefix('.')).collect()
    }

    fn sections(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.entries.keys().filter_map(|key| Some(key.split_once('.')?.0)).collect();
        names.dedup();
        names
    }

    /// What to say about a key that does not exist.
    fn unknown(&self, key: &str) -> String {
        let not_yet = |known: &str| key == known || (known.ends_with('_') && key.starts_with(known));
        if let Some((_, what)) = NOT_YET.iter().find(|(known, _)| not_yet(known)) {
            return format!("{key} cannot be set: {what} not in this version yet, the objective is L1, KL and VF");
        }
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let similarity = |known: &str| {
            let whole = strsim::normalized_damerau_levenshtein(key, known);
            // The right name in the wrong section is as good a guess as a misspelt one.
            whole.max(0.95 * strsim::normalized_damerau_levenshtein(&last(key), &last(known)))
        };
        let nearest = self.entries.keys().map(|known| (similarity(known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
        let guess = match nearest {
            Some((score, known)) if score >= SIMILAR => format!("; did you mean {known}?"),
            _ => ";".into(),
        };
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        match self.children(section) {
            keys if keys.is_empty() => {
                format!("unknown key {key}{guess} The sections are {}", self.sections().join(", "))
            }
            keys => format!("unknown key {key}{guess} The keys of {section} are {}", keys.join(", ")),
        }
        .replace("; The", "; the")
    }
}

/// The place of a dotted key in a tree of JSON objects; indexing an object by a key it lacks inserts it.
fn leaf<'a>(tree: &'a mut Value, key: &str) -> &'a mut Value {
    key.split('.').fold(tree, |node, part| &mut node[part])
}

/// A YAML value whose mappings remember where their keys stand.
enum Yaml {
    Leaf(Value),
    Map(Vec<(Spanned<String>, Yaml)>),
}

fn flatten(text: &str, name: &str) -> Result<Vec<(String, Entry)>> {
    let at = |location: Location| format!("{name}:{}:{}", location.line(), location.column());
    let yaml: Spanned<Yaml> = parse(text)
        .map_err(|(location, message)| Error::Config(format!("{}: {message}", location.map_or(name.to_owned(), at))))?;
    match yaml.value {
        Yaml::Leaf(Value::Null) => Ok(Vec::new()), // an empty file
        Yaml::Leaf(value) => Err(Error::Config(format!(
            "{}: expected sections such as `train:`, not {}",
            at(yaml.referenced),
            describe(&value)
        ))),
        map => {
            let mut assignments = Vec::new();
            collect("", map, at(yaml.referenced), &at, &mut assignments);
            Ok(assignments)
        }
    }
}

/// Flattens `yaml` at the dotted key `key` into assignments; `at` words a position.
fn collect(key: &str, yaml: Yaml, origin: String, at: &dyn Fn(Location) -> String, out: &mut Vec<(String, Entry)>) {
    match yaml {
        Yaml::Leaf(value) => out.push((key.to_owned(), Entry { value, origin })),
        Yaml::Map(pairs) => {
            for (name, value) in pairs {
                let child = if key.is_empty() { name.value } else { format!("{key}.{}", name.value) };
                collect(&child, value, at(name.referenced), at, out);
            }
        }
    }
}

fn parse(text: &str) -> Result<Spanned<Yaml>, (Option<Location>, String)> {
    serde_saphyr::from_str(text).map_err(|error| {
        // The position goes in front, in the form that editors and terminals can follow.
        let message = UserMessageFormatter.format_message(error.without_snippet()).into_owned();
        (error.location(), message)
    })
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Yaml, D::Error> {
        struct YamlVisitor;
        impl<'de> Visitor<'de> for YamlVisitor {
            type Value = Yaml;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Yaml, E> {
                Ok(Yaml::Leaf(Value::Null))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
                Ok(Yaml::Leaf(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
                Ok(Yaml::Leaf(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Yaml, E> {
                Ok(Yaml::Leaf(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
                Ok(Yaml::Leaf(value.into()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
                Ok(Yaml::Leaf(value.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Yaml, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = seq.next_element::<Value>()? {
                    list.push(value);
                }
                Ok(Yaml::Leaf(list.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Yaml, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Yaml::Map(pairs))
            }
        }
        deserializer.deserialize_any(YamlVisitor)
    }
}

/// serde's "…, expected X" in words a user knows.
fn expected(message: &str) -> String {
    match message.rsplit(", expected ").next().unwrap_or(message) {
        "usize" | "u64" => "a whole number, 0 or more".into(),
        "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "path string" => "text".into(),
        "a sequence" => "a list such as [1, 2]".into(),
        "an array of length 2" | "fewer elements in array" => "a list of two numbers".into(),
        other => other.into(),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null (nothing)".into(),
        Value::String(text) => format!("the text \"{text}\""),
        other => other.to_string(),
    }
}
