//! The two ways in which a network's hyper-parameters are written: a `config.json`, and a constructor call such
//! as `AsymmetricMASt3R(enc_depth=24, depth_mode=('exp', -inf, inf))`.

use serde_json::Value;
use std::collections::BTreeMap;

/// Deepest nesting of tuples that is read; real files have one.
const MAX_DEPTH: usize = 8;

/// The value of a hyper-parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Tuple(Vec<Literal>),
}

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Int(int) => write!(f, "{int}"),
            Self::Float(float) => write!(f, "{float}"),
            Self::Text(text) => write!(f, "`{text}`"),
            Self::Tuple(items) => {
                f.write_str("(")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
        }
    }
}

/// A constructor call: the class and its keyword arguments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) class: String,
    pub(crate) arguments: BTreeMap<String, Literal>,
}

/// Parses a constructor call of keyword arguments with literal values.
pub(crate) fn parse_call(text: &str) -> Result<Call, String> {
    let mut parser = Parser { text, at: 0 };
    let class = parser.name()?;
    parser.expect('(')?;
    let mut arguments = BTreeMap::new();
    while !parser.take(')') {
        let key = parser.name()?;
        parser.expect('=')?;
        let value = parser.value(0)?;
        if arguments.insert(key.clone(), value).is_some() {
            return Err(format!("`{key}` is given twice"));
        }
        if !parser.take(',') {
            parser.expect(')')?;
            break;
        }
    }
    parser.skip_spaces();
    match parser.rest() {
        "" => Ok(Call { class, arguments }),
        rest => Err(format!("nothing may follow the closing parenthesis, got `{}`", head(rest))),
    }
}

/// Parses the text of a `config.json`, in which the bare words `Infinity`, `-Infinity` and `NaN` may stand for
/// numbers as Python writes them; they come back as the texts `inf`, `-inf` and `nan`.
pub(crate) fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(&quote_bare_words(text)).map_err(|error| format!("is no valid JSON: {error}"))
}

/// The literal that a JSON value stands for; `None` for an object.
pub(crate) fn literal_from_json(value: &Value) -> Option<Literal> {
    Some(match value {
        Value::Null => Literal::None,
        Value::Bool(b) => Literal::Bool(*b),
        Value::Number(n) => match n.as_i64() {
            Some(int) => Literal::Int(int),
            None => Literal::Float(n.as_f64()?),
        },
        Value::String(text) => Literal::Text(text.clone()),
        Value::Array(items) => {
            Literal::Tuple(items.iter().map(literal_from_json).collect::<Option<Vec<_>>>()?)
        }
        Value::Object(_) => return None,
    })
}

fn quote_bare_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut rest, mut in_string) = (text, false);
    while let Some(c) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|w| !in_string && rest.starts_with(w));
        if let Some(word) = word {
            out.push_str(match word {
                "-Infinity" => "\"-inf\"",
                "Infinity" => "\"inf\"",
                _ => "\"nan\"",
            });
            rest = &rest[word.len()..];
            continue;
        }
        let taken = if in_string && c == '\\' {
            rest.chars().take(2).map(char::len_utf8).sum()
        } else {
            c.len_utf8()
        };
        in_string ^= c == '"';
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, c: char) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.take(c) { Ok(()) } else { Err(format!("expected `{c}` before `{}`", head(self.rest()))) }
    }

    /// The longest run of characters that satisfy `belongs`.
    fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        self.skip_spaces();
        let rest = self.rest();
        let run = &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())];
        self.at += run.len();
        run
    }

    fn name(&mut self) -> Result<String, String> {
        match self.run(|c| c.is_ascii_alphanumeric() || c == '_') {
            "" => Err(format!("expected a name before `{}`", head(self.rest()))),
            name => Ok(name.to_owned()),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Literal, String> {
        self.skip_spaces();
        match self.rest().chars().next() {
            Some(quote @ ('\'' | '"')) => self.text_in(quote),
            Some('(') => self.tuple(')', depth),
            Some('[') => self.tuple(']', depth),
            _ => self.word(),
        }
    }

    fn text_in(&mut self, quote: char) -> Result<Literal, String> {
        let rest = &self.rest()[1..];
        let end = rest.find(quote).ok_or_else(|| format!("`{quote}{}` is not closed", head(rest)))?;
        self.at += end + 2;
        match &rest[..end] {
            text if text.contains('\\') => Err(format!("escapes are not read, got `{text}`")),
            text => Ok(Literal::Text(text.to_owned())),
        }
    }

    fn tuple(&mut self, close: char, depth: usize) -> Result<Literal, String> {
        if depth >= MAX_DEPTH {
            return Err(format!("tuples are nested more than {MAX_DEPTH} deep"));
        }
        self.at += 1;
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(self.value(depth + 1)?);
            if !self.take(',') {
                self.expect(close)?;
                break;
            }
        }
        Ok(Literal::Tuple(items))
    }

    fn word(&mut self) -> Result<Literal, String> {
        let word = self.run(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
        Ok(match word {
            "None" => Literal::None,
            "True" => Literal::Bool(true),
            "False" => Literal::Bool(false),
            "inf" | "+inf" => Literal::Float(f64::INFINITY),
            "-inf" => Literal::Float(f64::NEG_INFINITY),
            // Rust's parser also knows words such as `infinity` and `nan`, which are no literals here.
            _ if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
                let int = word.parse().map(Literal::Int);
                int.or_else(|_| word.parse().map(Literal::Float))
                    .map_err(|_| format!("expected a number, got `{word}`"))?
            }
            _ => {
                return Err(format!("expected a value before `{}`", head(&format!("{word}{}", self.rest()))));
            }
        })
    }
}

/// The beginning of a text, for messages.
fn head(text: &str) -> String {
    let short: String = text.chars().take(20).collect();
    if short.is_empty() { "the end".to_owned() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Literal {
        Literal::Text(t.to_owned())
    }

    #[test]
    fn a_call_is_parsed_into_its_literals() {
        let call =
            parse_call(" M3( a='x y', b=-2,c=1e-06 ,d=('exp', -inf, inf),e=True, f=None, g=(), h=[1,], )")
                .unwrap();
        assert_eq!(call.class, "M3");
        let want = [
            ("a", text("x y")),
            ("b", Literal::Int(-2)),
            ("c", Literal::Float(1e-6)),
            (
                "d",
                Literal::Tuple(vec![
                    text("exp"),
                    Literal::Float(f64::NEG_INFINITY),
                    Literal::Float(f64::INFINITY),
                ]),
            ),
            ("e", Literal::Bool(true)),
            ("f", Literal::None),
            ("g", Literal::Tuple(vec![])),
            ("h", Literal::Tuple(vec![Literal::Int(1)])),
        ];
        assert_eq!(call.arguments, want.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        assert!(parse_call("M()").unwrap().arguments.is_empty());
    }

    #[test]
    fn what_is_no_call_is_refused_with_its_place() {
        for (bad, part) in [
            ("", "expected a name before `the end`"),
            ("M", "expected `(`"),
            ("M(a)", "expected `=`"),
            ("M(a=", "expected a value"),
            ("M(a=1", "expected `)`"),
            ("M(a=1) + 1", "nothing may follow"),
            ("M(a=1, a=2)", "given twice"),
            ("M(a='x", "not closed"),
            ("M(a=1.2.3)", "expected a number, got `1.2.3`"),
            ("M(a=__import__('os'))", "expected a value before"),
            ("M(a=nan)", "expected a value before `nan"),
            ("M(a=((((((((((1)))))))))))", "nested"),
        ] {
            let error = parse_call(bad).unwrap_err();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn bare_infinities_are_read_and_texts_are_left_alone() {
        let json =
            parse_json(r#"{"a": [-Infinity, Infinity], "b": "Infinity \" -Infinity", "c": "\\"}"#).unwrap();
        assert_eq!(json["a"], serde_json::json!(["-inf", "inf"]));
        assert_eq!(json["b"], "Infinity \" -Infinity");
        assert_eq!(json["c"], "\\");
        assert!(parse_json("{").unwrap_err().contains("no valid JSON"));
    }
}
