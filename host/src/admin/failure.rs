//! Failure: an error of the control, or of a request, as status and [`Problem`].

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};

use super::api::Problem;
use super::control::ControlError;

/// A problem and its status.
pub(super) struct Failure(pub(super) StatusCode, pub(super) Problem);

impl Failure {
    /// What was sent makes no sense.
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        let problem = Problem::new("bad-request", text);
        Self(StatusCode::BAD_REQUEST, problem)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let text = error.to_string();
        let (status, code, record) = match error {
            ControlError::NotFound { .. } => (StatusCode::NOT_FOUND, "endpoint-not-found", None),
            ControlError::Refused { record, .. } => (StatusCode::CONFLICT, "refused", record),
            ControlError::NeedsApproval { record, .. } => {
                (StatusCode::CONFLICT, "needs-approval", record)
            }
            ControlError::NothingHeld { .. } => (StatusCode::CONFLICT, "nothing-held", None),
            ControlError::GivenUp { record, .. } => (StatusCode::CONFLICT, "given-up", record),
            ControlError::Failed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "failed", None),
        };
        let mut problem = Problem::new(code, text);
        problem.record = record;
        Self(status, problem)
    }
}
