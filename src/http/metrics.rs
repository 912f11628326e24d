//! What Prometheus is told.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::model::Timestamp;
use crate::task::{Desk, StandingAudit};

/// Buckets for what takes milliseconds and for what takes hours.
const BUCKETS: &[f64] = &[0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0];

/// How old the last audit was when the database said so, and when that was.
static AGE: Mutex<Option<(f64, Instant)>> = Mutex::new(None);

static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Begins to count. Where the program that this is a part of counts in another way already, that is left as it is.
pub(super) fn begin() {
    let handle = HANDLE.get_or_init(|| {
        let handle = PrometheusBuilder::new().set_buckets(BUCKETS).ok()?.install_recorder().ok()?;
        describe();
        Some(handle)
    });
    if let Some(handle) = handle {
        tokio::spawn(async {
            // What is counted waits in memory until somebody sums it up.
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                handle.run_upkeep();
            }
        });
    }
}

fn describe() {
    describe_counter!("storm_index_http_requests_total", "Requests by method, route and status");
    describe_histogram!("storm_index_http_request_duration_seconds", Unit::Seconds, "How long answers took");
    describe_counter!("storm_index_runs_total", "Runs of this server by mode and outcome");
    describe_histogram!("storm_index_run_duration_seconds", Unit::Seconds, "How long runs took");
    describe_gauge!(
        "storm_index_audit_findings",
        "Findings of the last audit of everything by kind; the whole truth only if storm_index_audit_successful is 1"
    );
    describe_gauge!(
        "storm_index_audit_successful",
        "1 if the last audit of everything saw all of storage and index; 0 if it failed, was refused (a wrong storage), or \
         was incomplete"
    );
    describe_gauge!(
        "storm_index_audit_finished_timestamp_seconds",
        Unit::Seconds,
        "When the last audit of everything ended, since 1970"
    );
    describe_gauge!(
        "storm_index_audit_age_seconds",
        Unit::Seconds,
        "How long ago the last audit of everything ended, as far as is known while the database is away"
    );
    describe_gauge!("storm_index_audit_duration_seconds", Unit::Seconds, "How long the last audit of everything took");
    describe_gauge!("storm_index_database_up", "Whether the database answers, to who reads and to who writes");
    describe_gauge!("storm_index_build_info", "The version");
}

/// Writes everything down, the last audit of any server included.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
pub(super) async fn render(desk: &Desk) -> String {
    let Some(Some(handle)) = HANDLE.get() else { return String::new() };
    gauge!("storm_index_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let asked = async {
        let index = desk.index().await.ok()?;
        index.ask().await.ok()?;
        Some(StandingAudit::last(&index).await)
    };
    let last = tokio::time::timeout(Duration::from_secs(3), asked).await.ok().flatten();
    gauge!("storm_index_database_up").set(if last.is_some() { 1.0 } else { 0.0 });
    if let Some(Some((audit, age))) = last {
        let result = &audit.result;
        for (kind, count) in [
            ("missing", result.missing_in_db),
            ("orphaned", result.orphaned_in_db),
            ("stale", result.stale_in_db),
            ("moved", result.moved_in_db),
            ("deferred", result.deferred),
            ("unclaimed", result.unclaimed_on_disk),
            ("unindexable", result.unindexable_on_disk),
        ] {
            gauge!("storm_index_audit_findings", "kind" => kind).set(count as f64);
        }
        gauge!("storm_index_audit_successful").set(if audit.is_sound() { 1.0 } else { 0.0 });
        gauge!("storm_index_audit_duration_seconds").set(audit.seconds);
        if let Some(finished) = Timestamp::from_text(&audit.finished_at) {
            gauge!("storm_index_audit_finished_timestamp_seconds").set(finished.micros() as f64 / 1e6);
        }
        *AGE.lock().unwrap_or_else(PoisonError::into_inner) = Some((age, Instant::now()));
    }
    if let Some((age, told)) = *AGE.lock().unwrap_or_else(PoisonError::into_inner) {
        gauge!("storm_index_audit_age_seconds").set(age + told.elapsed().as_secs_f64());
    }
    handle.render()
}
