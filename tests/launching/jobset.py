"""The fields of a JobSet that we write, as strict models.

Sources, read 2026-11-24: api/jobset/v1alpha2/jobset_types.go of kubernetes-sigs/jobset at 08dfbdfd (JobSet parts);
kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1 and …/pod-v1 (the rest);
cloud.google.com/kubernetes-engine/docs/how-to/tpu-multislice and …/gpus (labels, annotation, limits).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


LabelKey = Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,253}/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")]
JobName = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
"""DNS-1035, as JobSet asks (pkg/webhooks/jobset_webhook.go); jobs and pods, with their suffixes, are labels too."""


class Metadata(Strict):
    name: JobName
    labels: dict[LabelKey, LabelValue] = {}
    annotations: dict[str, str] = {}


class PodMetadata(Strict):
    annotations: dict[str, str]


class FieldRef(Strict):
    fieldPath: str = Field(pattern=r"^metadata\.annotations\['[a-z0-9.-]+/[a-z0-9.-]+'\]$")


class ValueFrom(Strict):
    fieldRef: FieldRef


class Variable(Strict):
    name: str
    value: str | None = None
    valueFrom: ValueFrom | None = None

    @model_validator(mode="after")
    def _one(self) -> Variable:
        assert (self.value is None) != (self.valueFrom is None)
        return self


class Mount(Strict):
    name: DnsLabel
    mountPath: str = Field(pattern="^/")


class Resources(Strict):
    limits: dict[Literal["google.com/tpu", "nvidia.com/gpu"], Annotated[int, Field(ge=1)]]


class Container(Strict):
    name: DnsLabel
    image: str = Field(min_length=1)
    command: list[str]
    env: list[Variable] = []
    resources: Resources
    volumeMounts: list[Mount]
    workingDir: str | None = None


class ConfigMapVolume(Strict):
    name: DnsLabel


class CsiVolume(Strict):
    driver: Literal["gcsfuse.csi.storage.gke.io"]
    volumeAttributes: dict[Literal["bucketName", "mountOptions"], str]


class EmptyDir(Strict):
    medium: Literal["", "Memory"]


class Volume(Strict):
    name: DnsLabel
    configMap: ConfigMapVolume | None = None
    emptyDir: EmptyDir | None = None
    csi: CsiVolume | None = None


class PodSpec(Strict):
    restartPolicy: Literal["Never"]  # a podFailurePolicy takes no other
    terminationGracePeriodSeconds: int
    nodeSelector: dict[str, str]
    serviceAccountName: str | None = None
    containers: list[Container] = Field(min_length=1)
    volumes: list[Volume] = []


class PodTemplate(Strict):
    metadata: PodMetadata | None = None
    spec: PodSpec


class OnExitCodes(Strict):
    containerName: str
    operator: Literal["In", "NotIn"]
    values: list[int]


class PodFailureRule(Strict):
    action: Literal["FailJob", "FailIndex", "Ignore", "Count"]
    onExitCodes: OnExitCodes


class PodFailurePolicy(Strict):
    rules: list[PodFailureRule] = Field(max_length=20)


class JobSpec(Strict):
    parallelism: int = Field(ge=1)
    completions: int = Field(ge=1)
    completionMode: Literal["Indexed", "NonIndexed"]
    backoffLimit: int = Field(ge=0)
    podFailurePolicy: PodFailurePolicy | None = None
    template: PodTemplate


class JobTemplate(Strict):
    spec: JobSpec


class ReplicatedJob(Strict):
    name: DnsLabel
    replicas: int = Field(ge=0)
    template: JobTemplate


class FailureRule(Strict):
    name: str = Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    action: Literal["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts", "RestartJob"]
    onJobFailureReasons: list[
        Literal[
            "BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded", "PodFailurePolicy"
        ]
    ]


class FailurePolicy(Strict):
    maxRestarts: int = Field(ge=0)
    rules: list[FailureRule] = []


class Network(Strict):
    enableDNSHostnames: bool
    publishNotReadyAddresses: bool
    subdomain: DnsLabel | None = None


class JobSetSpec(Strict):
    failurePolicy: FailurePolicy
    network: Network | None = None
    replicatedJobs: list[ReplicatedJob] = Field(min_length=1)


class JobSet(Strict):
    apiVersion: Literal["jobset.x-k8s.io/v1alpha2"]
    kind: Literal["JobSet"]
    metadata: Metadata
    spec: JobSetSpec


class ConfigMap(Strict):
    apiVersion: Literal["v1"]
    kind: Literal["ConfigMap"]
    metadata: Metadata
    data: dict[str, str]
