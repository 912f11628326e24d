//! Which paths there are, and by which methods: what is asked otherwise is refused in one place, and counted by its route.

/// Where runs are asked for.
pub(super) const REBUILD: &str = "/api/v1/index/rebuild";

/// The paths, each with its methods.
const ROUTES: &[(&str, &str)] = &[
    (REBUILD, "POST"),
    ("/api/v1/index/tasks", "GET, HEAD"),
    ("/api/v1/index/tasks/{id}", "GET, HEAD"),
    ("/api/v1/index/tasks/{id}/cancel", "POST"),
    ("/api/v1/index/tasks/{id}/events", "GET, HEAD"),
    ("/api/v1/index/tasks/{id}/findings", "GET, HEAD"),
    ("/health/live", "GET, HEAD"),
    ("/health/ready", "GET, HEAD"),
    ("/metrics", "GET, HEAD"),
    ("/docs", "GET, HEAD"),
    ("/openapi.json", "GET, HEAD"),
];

/// Returns the route of a path and its method, with or without the trailing slash.
pub(super) fn route_of(path: &str) -> Option<(&'static str, &'static str)> {
    let path = path.strip_suffix('/').unwrap_or(path);
    ROUTES.iter().copied().find(|(route, _)| {
        let (mut given, mut known) = (path.split('/'), route.split('/'));
        loop {
            match (given.next(), known.next()) {
                (None, None) => return true,
                (Some(given), Some("{id}")) if !given.is_empty() => {}
                (Some(given), Some(known)) if given == known => {}
                _ => return false,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_route() {
        assert_eq!(route_of("/api/v1/index/rebuild/"), Some(("/api/v1/index/rebuild", "POST")));
        assert_eq!(route_of("/api/v1/index/tasks/7/cancel"), Some(("/api/v1/index/tasks/{id}/cancel", "POST")));
        for nothing in
            ["", "/", "/api", "/api/v1/index/tasks//cancel", "/api/v1/index/rebuild//", "/docs/x", "health/live"]
        {
            assert_eq!(route_of(nothing), None, "{nothing}");
        }
    }
}
