//! The words of policies and conditions, as people may see them. A module reads the whole target, and may print it
//! (`json.marshal(input.target)` in `reasons`): the values that results hide are replaced in its words too. The input itself
//! stays whole.

use actions::export::hidden::HiddenValues;
use contract::text::printable;
use serde_json::Value;

use super::sandbox::child::Trouble;

/// Knows the values that words about a target must not show.
pub struct Words(HiddenValues);

impl Words {
    /// Takes the target that the words are about.
    pub fn about(target: &Value) -> Self {
        Self(HiddenValues::of(target))
    }

    /// Returns a message as text and any other value as JSON. Not shortened: half a value would not have been found.
    pub fn shown(&self, value: &Value) -> String {
        self.clean(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Returns an error of the evaluation, which may quote a value.
    pub fn trouble(&self, trouble: &Trouble) -> String {
        self.clean(&trouble.to_string())
    }

    fn clean(&self, text: &str) -> String {
        printable(&self.0.in_words(text)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_hidden_in_the_target_is_hidden_in_words_about_it() {
        let container = json!({ "name": "app", "image": "web:2", "env": [{ "name": "PIN", "value": "4928" }, { "name": "Q", "value": "a\"hunter\n22" }] });
        let target = json!({ "apiVersion": "apps/v1", "metadata": { "name": "web" }, "spec": { "template": { "spec": { "containers": [container] } } } });
        let words = Words::about(&target);
        let printed = words.shown(&Value::from(target.to_string()));
        assert!(printed.contains("web:2") && printed.contains("[hidden]"), "{printed}");
        for text in [printed, words.shown(&target), words.shown(&json!(["4928", { "a": "a\"hunter\n22" }]))] {
            assert!(!text.contains("4928") && !text.contains("hunter"), "{text}");
        }
        let trouble = Trouble { message: "invalid number `4928`".to_owned(), ..Trouble::default() };
        assert_eq!(words.trouble(&trouble), "invalid number `[hidden]`");
        assert_eq!(words.shown(&json!("\u{1b}[2Jpin 4928\u{202e}")), r"\u001b[2Jpin [hidden]\u202e");
    }
}
