//! JSON as engines really write it: a field that is missing, null or of another type than
//! documented reads as its default instead of spoiling the whole answer.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A text where one is expected; anything else reads as empty, a number as its digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

/// An object where one is expected; anything else reads as the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object<T>(pub(super) T);

/// For a field that is a text.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match from.deserialize_any(ScalarVisitor)? {
        Scalar::Text(text) => text,
        Scalar::Number(number) => number.to_string(),
        Scalar::Flag(_) | Scalar::Nothing => String::new(),
    })
}

/// For a field that is a whole number.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Ok(match from.deserialize_any(ScalarVisitor)? {
        Scalar::Text(text) => text.trim().parse().unwrap_or_default(),
        Scalar::Number(number) => number,
        Scalar::Flag(_) | Scalar::Nothing => 0,
    })
}

/// For a field that is true or false.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(match from.deserialize_any(ScalarVisitor)? {
        Scalar::Flag(flag) => flag,
        Scalar::Text(text) => text == "true",
        Scalar::Number(_) | Scalar::Nothing => false,
    })
}

/// For a field that is an object.
pub(super) fn object<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    from.deserialize_any(ShapeVisitor(ObjectShape(PhantomData)))
}

/// For a field that maps names to values.
pub(super) fn map<'de, D, V>(from: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    from.deserialize_any(ShapeVisitor(MapShape(PhantomData)))
}

/// For a field that lists values.
pub(super) fn list<'de, D, V>(from: D) -> Result<Vec<V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    from.deserialize_any(ShapeVisitor(ListShape(PhantomData)))
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from).map(Self)
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        object(from).map(Self)
    }
}

enum Scalar {
    Text(String),
    Number(i64),
    Flag(bool),
    Nothing,
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(i64::try_from(number).map_or(Scalar::Nothing, Scalar::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(text))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scalar, A::Error> {
        drain_map(map).map(|()| Scalar::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Scalar, A::Error> {
        drain_list(list).map(|()| Scalar::Nothing)
    }
}

/// What is wanted of an object or a list; whatever has no use for one drains it.
trait Shape<'de> {
    type Value: Default;

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self::Value, A::Error> {
        drain_map(map).map(|()| Self::Value::default())
    }

    fn from_list<A: SeqAccess<'de>>(list: A) -> Result<Self::Value, A::Error> {
        drain_list(list).map(|()| Self::Value::default())
    }
}

struct ObjectShape<T>(PhantomData<T>);
struct MapShape<V>(PhantomData<V>);
struct ListShape<V>(PhantomData<V>);

impl<'de, T: Deserialize<'de> + Default> Shape<'de> for ObjectShape<T> {
    type Value = T;

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<'de, V: Deserialize<'de>> Shape<'de> for MapShape<V> {
    type Value = BTreeMap<String, V>;

    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.insert(key, value);
        }
        Ok(entries)
    }
}

impl<'de, V: Deserialize<'de>> Shape<'de> for ListShape<V> {
    type Value = Vec<V>;

    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Vec<V>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(values)
    }
}

struct ShapeVisitor<S>(S);

impl<'de, S: Shape<'de>> Visitor<'de> for ShapeVisitor<S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, _: bool) -> Result<S::Value, E> {
        Ok(S::Value::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<S::Value, E> {
        Ok(S::Value::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<S::Value, E> {
        Ok(S::Value::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<S::Value, E> {
        Ok(S::Value::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<S::Value, E> {
        Ok(S::Value::default())
    }

    fn visit_unit<E>(self) -> Result<S::Value, E> {
        Ok(S::Value::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<S::Value, A::Error> {
        S::from_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<S::Value, A::Error> {
        S::from_list(list)
    }
}

fn drain_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

fn drain_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}
