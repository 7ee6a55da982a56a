//! What the engine keeps on disk: its own account, and the sums that people ask for.

use bytes::Bytes;
use serde::Deserialize;

use crate::docker::lenient::{self, Object};
use crate::{DiskUsage, MeterError};

/// `GET /system/df`, in the words of engines before and after version 1.52.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DiskJson {
    #[serde(deserialize_with = "lenient::number")]
    layers_size: i64,
    #[serde(deserialize_with = "lenient::list")]
    containers: Vec<Object<ContainerJson>>,
    #[serde(deserialize_with = "lenient::list")]
    volumes: Vec<Object<VolumeJson>>,
    #[serde(deserialize_with = "lenient::list")]
    build_cache: Vec<Object<RecordJson>>,
    image_usage: Option<SumJson>,
    container_usage: Option<SumJson>,
    volume_usage: Option<SumJson>,
    build_cache_usage: Option<SumJson>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ContainerJson {
    #[serde(deserialize_with = "lenient::number")]
    size_rw: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct VolumeJson {
    #[serde(deserialize_with = "lenient::object")]
    usage_data: RecordJson,
}

/// A size; -1 where it is not known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RecordJson {
    #[serde(deserialize_with = "lenient::number")]
    size: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct SumJson {
    #[serde(deserialize_with = "lenient::number")]
    total_size: i64,
}

/// Reads the engine's account and keeps it as it is.
pub(in crate::docker) fn read(body: Bytes) -> Result<DiskUsage, MeterError> {
    let json: DiskJson = serde_json::from_slice(&body).map_err(|cause| {
        MeterError::Nonsense(format!("the account of the disk makes no sense: {cause}"))
    })?;
    let sum = |sizes: &mut dyn Iterator<Item = i64>| -> u64 {
        sizes.fold(0, |sum, size| sum.saturating_add(u64::try_from(size).unwrap_or_default()))
    };
    let or_sum = |said: Option<SumJson>, sizes: &mut dyn Iterator<Item = i64>| match said {
        Some(said) => sum(&mut [said.total_size].into_iter()),
        None => sum(sizes),
    };
    Ok(DiskUsage {
        images_bytes: or_sum(json.image_usage, &mut [json.layers_size].into_iter()),
        containers_bytes: or_sum(
            json.container_usage,
            &mut json.containers.iter().map(|it| it.0.size_rw),
        ),
        volumes_bytes: or_sum(
            json.volume_usage,
            &mut json.volumes.iter().map(|it| it.0.usage_data.size),
        ),
        build_cache_bytes: or_sum(
            json.build_cache_usage,
            &mut json.build_cache.iter().map(|it| it.0.size),
        ),
        raw: one_line(body),
    })
}

/// The same JSON without line ends, which some things in front of an engine put in.
pub(super) fn one_line(json: Bytes) -> Bytes {
    let trimmed = json.slice_ref(json.trim_ascii());
    if !trimmed.contains(&b'\n') && !trimmed.contains(&b'\r') {
        return trimmed;
    }
    // A line end is legal between tokens only; inside a text it is written as an escape.
    trimmed.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(text: &str) -> [u64; 4] {
        let usage = read(Bytes::copy_from_slice(text.as_bytes())).expect("it is JSON");
        assert_eq!(usage.raw, text.trim().replace('\n', ""));
        [usage.images_bytes, usage.containers_bytes, usage.volumes_bytes, usage.build_cache_bytes]
    }

    #[test]
    fn older_engines_list_and_newer_ones_sum() {
        let older = r#"{"LayersSize":1000,"Images":[{"Size":9}],
            "Containers":[{"Id":"a","SizeRw":5},{"SizeRootFs":3},null],
            "Volumes":[{"UsageData":{"Size":7,"RefCount":1}},{"UsageData":null},{"UsageData":{"Size":-1}}],
            "BuildCache":[{"Size":11},{"Size":2}],"BuilderSize":0}
            "#;
        assert_eq!(sums(older), [1_000, 5, 7, 13]);
        let newer = r#"{"ImageUsage":{"TotalSize":1,"Items":[]},"ContainerUsage":{"TotalSize":2},
            "VolumeUsage":{"TotalSize":3},"BuildCacheUsage":{"TotalSize":4}}"#;
        assert_eq!(sums(newer), [1, 2, 3, 4]);
        let nothing =
            r#"{"LayersSize":0,"Images":null,"Containers":null,"Volumes":null,"BuildCache":null}"#;
        assert_eq!(sums(nothing), [0; 4]);
    }

    #[test]
    fn what_is_no_account_is_an_error() {
        for text in ["", "<html>", "{"] {
            let read = read(Bytes::copy_from_slice(text.as_bytes()));
            assert!(matches!(read, Err(MeterError::Nonsense(_))), "{text}");
        }
    }
}
