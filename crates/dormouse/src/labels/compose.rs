//! Reads the labels that Compose itself puts on containers.

use dormouse_core::findings::Finding;
use dormouse_core::policy::Until;
use dormouse_providers::Target;

use super::tree::TEXT_MAX;
use super::{Labels, label_place};
use crate::config::report::{Report, quote};
use crate::config::settings::{ComposeService, NeedWish, Wanted};
use crate::config::values;

const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// The Compose service that the labels name.
pub(crate) fn compose_service(labels: &Labels) -> Option<ComposeService> {
    let name = |key| labels.get(key).filter(|name| values::check_name(name).is_ok()).cloned();
    Some(ComposeService { project: name(COMPOSE_PROJECT)?, service: name(COMPOSE_SERVICE)? })
}

/// Reads Compose's own `db:service_healthy:false,cache:service_started:true`.
pub(super) fn depends_on(
    target: &Target,
    labels: &Labels,
    report: &mut Report<'_>,
) -> Vec<NeedWish> {
    let Some(text) = labels.get(COMPOSE_DEPENDS_ON) else {
        return Vec::new();
    };
    let place = label_place(target, COMPOSE_DEPENDS_ON);
    if text.len() > TEXT_MAX {
        let message = format!("{} is too long to be read", quote(COMPOSE_DEPENDS_ON));
        report.add(Finding::warning("ignored-need", message).at(place));
        return Vec::new();
    }
    let mut needs = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let mut parts = item.split(':');
        let service = parts.next().unwrap_or_default();
        let until = match parts.next() {
            Some("service_started") => Some(Until::Started),
            Some("service_healthy") | None => Some(Until::Ready),
            Some("service_completed_successfully") => Some(Until::Completed),
            Some(_) => None,
        };
        match until.filter(|_| values::check_name(service).is_ok()) {
            Some(until) => {
                let on = Wanted::Service(service.to_owned());
                needs.push(NeedWish { on, until, place: place.clone() });
            }
            None => {
                let message = format!("{} of `depends_on` is not understood", quote(item));
                report.add(Finding::warning("ignored-need", message).at(place.clone()));
            }
        }
    }
    needs
}
