//! What the operations refuse, and how: one list of statuses an operation, each with the codes that it has.

use poem_openapi::ApiResponse;
use poem_openapi::payload::Json;

use super::problem::Problem;

/// Makes the refusals of an operation, one variant a status.
macro_rules! refusals {
    ($name:ident: $($(#[$doc:meta])* $variant:ident = $status:tt),+ $(,)?) => {
        #[derive(ApiResponse)]
        pub(super) enum $name {
            $(
                $(#[$doc])*
                #[oai(status = $status, content_type = "application/problem+json")]
                $variant(Json<Problem>),
            )+
        }

        impl From<Problem> for $name {
            fn from(problem: Problem) -> Self {
                match problem.status {
                    $($status => Self::$variant(Json(problem)),)+
                    _ => Self::Unavailable(Json(problem)),
                }
            }
        }
    };
}

refusals! { RebuildRefused:
    /// `invalid_json`, `invalid_body`, `unknown_field`, `invalid_mode`, `force_required`, `invalid_max_delete`,
    /// `invalid_exclude`, `invalid_adopt`, `invalid_parameter`.
    Bad = 400,
    /// `key_missing`, `invalid_key`, `key_revoked`, `key_expired`. `WWW-Authenticate` says how to come in.
    Unauthorized = 401,
    /// `admin_required`: the key is not an admin's.
    Forbidden = 403,
    /// `run_in_progress`: another run writes into the index; `holder` names it.
    Conflict = 409,
    /// `body_too_slow`: the body did not come within 30 seconds.
    TooSlow = 408,
    /// `body_too_large`: more than 64 KiB.
    TooLarge = 413,
    /// `unsupported_media_type`: not `application/json`.
    MediaType = 415,
    /// `unknown_user`; `nested_prefix`, `name_taken`, `id_taken`: a folder cannot become a user; `idempotency_key_reused`:
    /// the key was used with another body.
    Unprocessable = 422,
    /// `too_many_failures`, `too_many_tasks`. `Retry-After` says when to ask again.
    TooMany = 429,
    /// `database_unavailable`, `database_failed`, `database_read_only`, `database_not_ours`, `database_older`,
    /// `database_newer`, `database_encoding`, `database_collation`, `shutting_down`. `Retry-After` says when to ask again.
    Unavailable = 503,
}

refusals! { PageRefused:
    /// `invalid_parameter`.
    Bad = 400,
    /// `key_missing`, `invalid_key`, `key_revoked`, `key_expired`. `WWW-Authenticate` says how to come in.
    Unauthorized = 401,
    /// `admin_required`: the key is not an admin's.
    Forbidden = 403,
    /// `unknown_task`: there is none of this id, or it cannot be an id; `findings_gone`: its findings are not kept here.
    NotFound = 404,
    /// `too_many_failures`. `Retry-After` says when to ask again.
    TooMany = 429,
    /// `database_unavailable`, `database_failed`, `database_read_only`, `database_not_ours`, `database_older`,
    /// `database_newer`, `database_encoding`, `database_collation`. `Retry-After` says when to ask again.
    Unavailable = 503,
}

refusals! { TaskRefused:
    /// `key_missing`, `invalid_key`, `key_revoked`, `key_expired`. `WWW-Authenticate` says how to come in.
    Unauthorized = 401,
    /// `admin_required`: the key is not an admin's.
    Forbidden = 403,
    /// `unknown_task`: there is none of this id, or it cannot be an id.
    NotFound = 404,
    /// `too_many_failures`. `Retry-After` says when to ask again.
    TooMany = 429,
    /// `database_unavailable`, `database_failed`, `database_read_only`, `database_not_ours`, `database_older`,
    /// `database_newer`, `database_encoding`, `database_collation`. `Retry-After` says when to ask again.
    Unavailable = 503,
}

refusals! { CancelRefused:
    /// `invalid_body`: a body broke off.
    Bad = 400,
    /// `key_missing`, `invalid_key`, `key_revoked`, `key_expired`. `WWW-Authenticate` says how to come in.
    Unauthorized = 401,
    /// `admin_required`: the key is not an admin's.
    Forbidden = 403,
    /// `unknown_task`: there is none of this id, or it cannot be an id.
    NotFound = 404,
    /// `task_ended`: it has ended by itself.
    Conflict = 409,
    /// `body_too_slow`: the body did not come within 30 seconds.
    TooSlow = 408,
    /// `body_too_large`: more than 64 KiB.
    TooLarge = 413,
    /// `too_many_failures`. `Retry-After` says when to ask again.
    TooMany = 429,
    /// `database_unavailable`, `database_failed`, `database_read_only`, `database_not_ours`, `database_older`,
    /// `database_newer`, `database_encoding`, `database_collation`. `Retry-After` says when to ask again.
    Unavailable = 503,
}

refusals! { MetricsRefused:
    /// Under `--metrics-auth`: `key_missing`, `invalid_key`, `key_revoked`, `key_expired`. `WWW-Authenticate` says how to
    /// come in.
    Unauthorized = 401,
    /// Under `--metrics-auth`: `admin_required`: the key is not an admin's.
    Forbidden = 403,
    /// Under `--metrics-auth`: `too_many_failures`. `Retry-After` says when to ask again.
    TooMany = 429,
    /// Under `--metrics-auth`: `database_unavailable`, `database_failed`, `database_read_only`, `database_not_ours`,
    /// `database_older`, `database_newer`, `database_encoding`, `database_collation`: the key cannot be looked up. `Retry-After` says when to
    /// ask again.
    Unavailable = 503,
}
