# For the release pipeline, after images/build.sh (or cargo zigbuild for the other architecture) has put a binary for each
# architecture into the context:
#   REGISTRY=registry.example/team/ VERSION=0.1.0 REVISION=$(git rev-parse HEAD) SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) \
#     CREATED=$(git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ) SOURCE=https://registry.example/its-repository \
#     docker buildx bake --file images/docker-bake.hcl --push
variable "REGISTRY" { default = "" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "unknown" }
variable "SOURCE" { default = "unknown" }
variable "CREATED" { default = "1970-01-01T00:00:00Z" }

group "default" { targets = ["image"] }

target "image" {
  name       = image
  matrix     = { image = ["action-scale", "action-restart", "action-rollback", "action-cordon", "action-logs", "action-runner", "execution-controller", "audit-receiver"] }
  context    = "target/images/context"
  dockerfile = "../../../images/Containerfile"
  target     = image
  platforms  = ["linux/amd64", "linux/arm64"]
  tags       = ["${REGISTRY}${image}:${VERSION}"]
  args       = { VERSION = VERSION, REVISION = REVISION, CREATED = CREATED, SOURCE = SOURCE }
  attest     = ["type=sbom", "type=provenance,mode=max"]
  output     = ["type=image,rewrite-timestamp=true"]
}
