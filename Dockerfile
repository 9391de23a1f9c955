# uadtools with its models; it needs no network when it runs. INDEX: of CPU builds of torch (docs/start.md).
#
#     docker build -t uadtools --build-arg INDEX=URL .
#     docker run --rm --network none -u "$(id -u):$(id -g)" -v "$PWD:/data" uadtools run scan.nii.gz -o out/
FROM python:3.11-slim
ARG INDEX=
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY man man
COPY uadtools uadtools
RUN PIP_EXTRA_INDEX_URL="$INDEX" pip install --no-cache-dir -c constraints.txt '.[deepbet,dicom,nrrd,register]' \
    && rm -rf /src
ENV MPLCONFIGDIR=/tmp PYTHONNOUSERSITE=1
WORKDIR /data
RUN uad models list
ENTRYPOINT ["uad"]
