//! From every error to its exit code and a way forward.

use prophecy_anonymizer::ReadPolicyError;
use prophecy_capture::agent::{CapturePcapError, CaptureProxyError};
use prophecy_capture::pcap::ReadCaptureError;
use prophecy_datasets::run::ReadRunError;
use prophecy_datasets::trials::ReadTrialsError;
use prophecy_datasets::{OpenDatasetError, ReadDatasetError};
use prophecy_predictor::forecast::ForecastError;
use prophecy_runner::begin::BeginError;
use prophecy_runner::environment::EnvironmentError;
use prophecy_runner::executor::ExecuteError;
use prophecy_runner::plan::PlanError;
use prophecy_simulator::model::ReadModelError;
use prophecy_store::StoreError;
use prophecy_twin::launch::StartArmError;
use prophecy_twin::{LoadSystemError, RunTwinError};

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::key_file::LoadKeyError;

impl From<OpenDatasetError> for Failure {
    fn from(error: OpenDatasetError) -> Self {
        let (code, hint) = match &error {
            OpenDatasetError::Read { .. } | OpenDatasetError::NoManifest { .. } => {
                (ExitCode::Environment, "record one with `prophecy capture --out FOLDER …`")
            }
            OpenDatasetError::Manifest { .. } => {
                (ExitCode::Usage, "the dataset is damaged: record it again")
            }
            OpenDatasetError::Schema { .. } => {
                (ExitCode::Usage, "use the version of prophecy that wrote it, or record it again")
            }
        };
        Self::of(code, &error).hint(hint)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (code, hint) = match &error {
            StoreError::Address { .. } => {
                (ExitCode::Usage, "for example `--store sqlite:prophecy.db`")
            }
            StoreError::Locked { .. } | StoreError::Gone { .. } => {
                (ExitCode::Environment, "is the database up, and may this user use it?")
            }
            StoreError::Full { .. } => (ExitCode::Environment, "make room on the disk"),
            StoreError::ReadOnly { .. } => {
                (ExitCode::Environment, "give this user the right to write")
            }
            StoreError::Conflict { .. } => {
                (ExitCode::Usage, "a backup is restored into an empty store only")
            }
            _ => (ExitCode::Environment, "see what is in it with `prophecy store info`"),
        };
        Self::of(code, &error).hint(hint)
    }
}

impl From<ReadDatasetError> for Failure {
    fn from(error: ReadDatasetError) -> Self {
        Self::of(ExitCode::Environment, &error)
            .hint("see what is left of it with `prophecy dataset verify`")
    }
}

impl From<ReadTrialsError> for Failure {
    fn from(error: ReadTrialsError) -> Self {
        let code = match &error {
            ReadTrialsError::Read { .. } | ReadTrialsError::Nothing { .. } => ExitCode::Environment,
            ReadTrialsError::Content { .. } => ExitCode::Usage,
        };
        Self::of(code, &error).hint("make records with `make trials`")
    }
}

impl From<LoadSystemError> for Failure {
    fn from(error: LoadSystemError) -> Self {
        match &error {
            LoadSystemError::Read { .. } => {
                Self::of(ExitCode::Environment, &error).hint("write one with `prophecy init`")
            }
            LoadSystemError::Circle { .. } | LoadSystemError::Content { .. } => {
                Self::of(ExitCode::Usage, &error).hint("docs/formats/system.md lists every field")
            }
        }
    }
}

impl From<LoadKeyError> for Failure {
    fn from(error: LoadKeyError) -> Self {
        match &error {
            LoadKeyError::NoHome => {
                Self::of(ExitCode::Usage, &error).hint("name one with `--key-file FILE`")
            }
            LoadKeyError::Access { .. } => Self::of(ExitCode::Environment, &error),
            LoadKeyError::Exposed { path, .. } => {
                let hint = format!("chmod 600 {}", path.display());
                Self::of(ExitCode::Environment, &error).hint(hint)
            }
            LoadKeyError::Form { .. } => Self::of(ExitCode::Usage, &error)
                .hint("name a file that does not exist yet, and a key is made"),
        }
    }
}

impl From<ReadPolicyError> for Failure {
    fn from(error: ReadPolicyError) -> Self {
        Self::of(ExitCode::Usage, &error).hint("docs/formats/policy.md lists every field")
    }
}

impl From<ReadModelError> for Failure {
    fn from(error: ReadModelError) -> Self {
        Self::of(ExitCode::Usage, &error).hint("fit one with `prophecy fit DATASET --system FILE`")
    }
}

impl From<ReadRunError> for Failure {
    fn from(error: ReadRunError) -> Self {
        let code = match &error {
            ReadRunError::Read { .. } => ExitCode::Environment,
            ReadRunError::Format { .. } => ExitCode::Usage,
        };
        Self::of(code, &error).hint("make one with `prophecy replay`")
    }
}

impl From<CaptureProxyError> for Failure {
    fn from(error: CaptureProxyError) -> Self {
        let code = match &error {
            CaptureProxyError::NoEdge | CaptureProxyError::Upstream(_) => ExitCode::Usage,
            CaptureProxyError::Start(_)
            | CaptureProxyError::Create(_)
            | CaptureProxyError::Record(_) => ExitCode::Environment,
        };
        let failure = Self::of(code, &error);
        match &error {
            CaptureProxyError::Start(_) => failure.hint("choose another port with `--listen`"),
            CaptureProxyError::Create(_) => failure.hint("choose a new folder with `--out`"),
            CaptureProxyError::Record(_) => failure
                .hint("what was written by then is whole; see it with `prophecy dataset verify`"),
            CaptureProxyError::NoEdge | CaptureProxyError::Upstream(_) => failure,
        }
    }
}

impl From<CapturePcapError> for Failure {
    fn from(error: CapturePcapError) -> Self {
        match &error {
            CapturePcapError::NoFile => Self::of(ExitCode::Usage, &error),
            CapturePcapError::Write(_) => {
                Self::of(ExitCode::Environment, &error).hint("choose a new folder with `--out`")
            }
            CapturePcapError::Read(ReadCaptureError::Read { .. }) => {
                Self::of(ExitCode::Environment, &error)
                    .hint("record one with `tcpdump -i any -w FILE.pcap tcp`")
            }
            CapturePcapError::Read(_) => {
                Self::of(ExitCode::Usage, &error).hint("prophecy reads pcap and pcapng files")
            }
        }
    }
}

impl From<StartArmError> for Failure {
    fn from(error: StartArmError) -> Self {
        let code = match &error {
            StartArmError::Placeholder { .. }
            | StartArmError::Ended { .. }
            | StartArmError::NotReady { .. }
            | StartArmError::Spawn { .. }
            | StartArmError::NotAllowed { .. } => ExitCode::Usage,
            StartArmError::Prepare { .. }
            | StartArmError::Mirror { .. }
            | StartArmError::NoPort => ExitCode::Environment,
        };
        Self::of(code, &error)
    }
}

impl From<RunTwinError> for Failure {
    fn from(error: RunTwinError) -> Self {
        match &error {
            RunTwinError::Start { source, .. } => {
                let code = match **source {
                    StartArmError::Prepare { .. }
                    | StartArmError::Mirror { .. }
                    | StartArmError::NoPort => ExitCode::Environment,
                    _ => ExitCode::Usage,
                };
                Self::of(code, &error)
                    .hint("try its command by hand; its output is in the run's `logs` folder")
            }
            RunTwinError::Occupied { .. } => {
                Self::of(ExitCode::Environment, &error).hint("choose a new folder with `--out`")
            }
            RunTwinError::Nothing { .. } => Self::of(ExitCode::NotEnoughEvidence, &error)
                .hint("was it captured with `--service` named like the manifest's `entry`?"),
            RunTwinError::NoBehaviour { .. } => Self::of(ExitCode::NotEnoughEvidence, &error)
                .hint("capture the edge to it as well, with `--edge`"),
            RunTwinError::Died { .. } => Self::of(ExitCode::NotEnoughEvidence, &error)
                .hint("its output is in the run's `logs` folder"),
            RunTwinError::Replay(_) => {
                Self::of(ExitCode::Usage, &error).hint("allow it with `--allow ADDR`")
            }
            RunTwinError::Interrupted => Self::of(ExitCode::Interrupted, &error),
            RunTwinError::Write { .. }
            | RunTwinError::Open(_)
            | RunTwinError::Read(_)
            | RunTwinError::Create(_)
            | RunTwinError::Record(_) => Self::of(ExitCode::Environment, &error),
        }
    }
}

impl From<ForecastError> for Failure {
    fn from(error: ForecastError) -> Self {
        Self::of(ExitCode::NotEnoughEvidence, &error)
            .hint("was it captured with `--service` named like the manifest's `entry`?")
    }
}

impl From<EnvironmentError> for Failure {
    fn from(error: EnvironmentError) -> Self {
        match &error {
            EnvironmentError::File { .. } => Self::of(ExitCode::Environment, &error),
            EnvironmentError::Format { .. } => Self::of(ExitCode::Usage, &error),
            EnvironmentError::Absent { .. } => Self::of(ExitCode::Usage, &error).hint(
                "the first deployment is `prophecy rollout start --candidate FILE --listen ADDR`",
            ),
            EnvironmentError::Held { .. } => Self::of(ExitCode::Environment, &error).hint(
                "see it with `prophecy rollout status`, end it with `prophecy rollout abort`",
            ),
        }
    }
}

impl From<ExecuteError> for Failure {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Environment(error) => error.into(),
            ExecuteError::Journal(error) => Self::of(ExitCode::Environment, &error),
            ExecuteError::Plan { .. } => Self::of(ExitCode::Environment, &error),
            ExecuteError::UnderWay { .. } => Self::of(ExitCode::Usage, &error),
        }
    }
}

impl From<BeginError> for Failure {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Environment(error) => error.into(),
            BeginError::System(error) => error.into(),
            BeginError::Plan(PlanError::NothingDiffers { .. }) => Self::of(ExitCode::Usage, &error)
                .hint("`--again SERVICE` deploys a service whose manifest is the same"),
            BeginError::NoAddress => Self::of(ExitCode::Usage, &error)
                .hint("name one with `--listen 127.0.0.1:8080`"),
            BeginError::UnderWay { .. } => Self::of(ExitCode::Usage, &error).hint(
                "take it up with `prophecy rollout resume`, or end it with `prophecy rollout abort`",
            ),
            BeginError::File { .. } => Self::of(ExitCode::Environment, &error),
            BeginError::NoHaproxy => {
                Self::of(ExitCode::Environment, &error).hint("`apt-get install haproxy`")
            }
            BeginError::Plan(_)
            | BeginError::Edited { .. }
            | BeginError::OtherRouter { .. }
            | BeginError::CannotCopy
            | BeginError::Report { .. } => Self::of(ExitCode::Usage, &error),
        }
    }
}
