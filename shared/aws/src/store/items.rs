//! Table items to and from the core's types.

use aws_sdk_dynamodb::types::AttributeValue;
use hotline_base::{IndexRow, Timestamp};
use hotline_ports::{FactRow, Fault, OutboxRow, Stored, TimerRow};
use serde_json::{Map, Value};
use std::collections::HashMap;

use super::keys::{self, Key};

/// A table item; the SDK's own type.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// What the store is called in a [`Fault`].
pub(crate) const PART: &str = "the table store";

/// Counters of a rollup row are attributes of their own, so that `ADD` reaches them.
pub(crate) const COUNTER: &str = "n_";

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// An item with its key and, where given, the second after which the table may remove it.
pub(crate) fn keyed(key: &Key, expires: Option<Timestamp>) -> Item {
    let mut item = Item::from([("pk".into(), text(&key.pk)), ("sk".into(), text(&key.sk))]);
    if let Some(at) = expires {
        item.insert("expires".into(), number(at.as_millis().div_euclid(1_000)));
    }
    item
}

fn corrupt(item: &Item, what: &str) -> Fault {
    let key = |name| item.get(name).and_then(|v| v.as_s().ok()).map_or("?", String::as_str);
    Fault::permanent(PART, format!("item {} / {}: {what} is missing or unreadable", key("pk"), key("sk")))
}

fn get<'a>(item: &'a Item, name: &str) -> Result<&'a str, Fault> {
    item.get(name).and_then(|v| v.as_s().ok()).map(String::as_str).ok_or_else(|| corrupt(item, name))
}

fn get_number<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, Fault> {
    item.get(name).and_then(|v| v.as_n().ok()).and_then(|n| n.parse().ok()).ok_or_else(|| corrupt(item, name))
}

fn get_json<T: serde::de::DeserializeOwned>(item: &Item, name: &str) -> Result<T, Fault> {
    serde_json::from_str(get(item, name)?).map_err(|_| corrupt(item, name))
}

pub(crate) fn stored(next: &Stored, key: &Key, expires: Option<Timestamp>) -> Item {
    let mut item = keyed(key, expires);
    item.insert("v".into(), number(next.version));
    item.insert("body".into(), text(next.body.to_string()));
    item.insert("seen".into(), AttributeValue::L(next.seen.iter().map(|id| text(id.to_string())).collect()));
    item
}

pub(crate) fn read_stored(item: &Item) -> Result<Stored, Fault> {
    let seen = item
        .get("seen")
        .and_then(|v| v.as_l().ok())
        .and_then(|list| list.iter().map(|v| v.as_s().ok()?.parse().ok()).collect())
        .ok_or_else(|| corrupt(item, "seen"))?;
    Ok(Stored { version: get_number(item, "v")?, body: get_json(item, "body")?, seen })
}

pub(crate) fn index_row(key: &Key, body: &str, expires: Option<Timestamp>) -> Item {
    let mut item = keyed(key, expires);
    item.insert("body".into(), text(body));
    item
}

/// A row of `partition`; the body of a rollup row is put together from its counters.
pub(crate) fn read_row(item: &Item, partition: &str) -> Result<IndexRow, Fault> {
    let sort = get(item, "sk")?.to_string();
    let body = if item.contains_key("body") {
        get(item, "body")?.to_string()
    } else {
        let mut counters = Map::new();
        let mut names: Vec<&String> = item.keys().filter(|name| name.starts_with(COUNTER)).collect();
        names.sort();
        for name in names {
            counters.insert(name[COUNTER.len()..].to_string(), Value::from(get_number::<i64>(item, name)?));
        }
        Value::Object(counters).to_string()
    };
    Ok(IndexRow { partition: partition.into(), sort, body })
}

pub(crate) fn fact(row: &FactRow) -> Item {
    let key = Key { pk: keys::history(&row.subject), sk: keys::place(row.version, row.index) };
    let mut item = keyed(&key, None);
    item.insert("at".into(), number(row.at.as_millis()));
    item.insert("name".into(), text(&row.name));
    item.insert("body".into(), text(row.body.to_string()));
    item
}

pub(crate) fn read_fact(item: &Item) -> Result<FactRow, Fault> {
    let subject = keys::subject(get(item, "pk")?).ok_or_else(|| corrupt(item, "pk"))?;
    let (version, index) = keys::version_and_index(get(item, "sk")?).ok_or_else(|| corrupt(item, "sk"))?;
    Ok(FactRow {
        subject,
        version,
        index,
        at: Timestamp::from_millis(get_number(item, "at")?),
        name: get(item, "name")?.into(),
        body: get_json(item, "body")?,
    })
}

/// Reads a fact from the `NewImage` of a stream record, which is attribute-value JSON.
pub fn fact_from_image(image: &Value) -> Result<FactRow, Fault> {
    let image = image.as_object().ok_or_else(|| Fault::permanent(PART, "the stream record has no new image"))?;
    let mut item = Item::new();
    for (name, value) in image {
        // A fact holds only texts and numbers; anything else is left out and then missed by name.
        if let Some(text) = value.get("S").and_then(Value::as_str) {
            item.insert(name.clone(), AttributeValue::S(text.into()));
        } else if let Some(number) = value.get("N").and_then(Value::as_str) {
            item.insert(name.clone(), AttributeValue::N(number.into()));
        }
    }
    read_fact(&item)
}

/// How long a timer or effect outlives its moment before the table's TTL removes it.
const KEPT_S: i64 = 30 * 86_400;

pub(crate) fn timer(row: &TimerRow) -> Item {
    let mut item = keyed(&keys::timer(row), Some(row.due + KEPT_S * 1_000));
    item.insert("row".into(), text(serde_json::json!(row).to_string()));
    item
}

pub(crate) fn read_timer(item: &Item) -> Result<TimerRow, Fault> {
    get_json(item, "row")
}

pub(crate) fn outbox(row: &OutboxRow) -> Item {
    let mut item = keyed(&keys::outbox(row), Some(row.at + KEPT_S * 1_000));
    item.insert("row".into(), text(serde_json::json!(row).to_string()));
    item
}

pub(crate) fn read_outbox(item: &Item) -> Result<OutboxRow, Fault> {
    get_json(item, "row")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fact_reads_back_from_a_stream_image() {
        let image = json!({
            "pk": {"S": "ten_00000000000000000000000007#contact#con_1"}, "sk": {"S": "00000000000000000003#0001"},
            "at": {"N": "1000"}, "name": {"S": "ContactArrived"}, "body": {"S": "{\"did\":\"+1\"}"}
        });
        let fact = fact_from_image(&image).unwrap();
        assert_eq!((fact.version, fact.index, fact.name.as_str()), (3, 1, "ContactArrived"));
        assert_eq!(fact.body, json!({"did": "+1"}));
    }

    #[test]
    fn a_damaged_image_names_what_is_wrong() {
        let image = json!({"pk": {"S": "x"}, "sk": {"S": "y"}});
        assert!(fact_from_image(&image).unwrap_err().to_string().contains("pk is missing"));
        assert!(fact_from_image(&json!(null)).is_err());
    }
}
