# uadtools with its models, on the CPU; it needs no network when it runs.
#
#     docker build -t uadtools .
#     docker run --rm --network none -u "$(id -u):$(id -g)" -v "$PWD:/data" uadtools run scan.nii.gz -o out/
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY man man
COPY uadtools uadtools
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url "$TORCH_INDEX" 'torch==2.13.0+cpu' '.[deepbet,dicom,nrrd,register]' \
    && rm -rf /src
ENV MPLCONFIGDIR=/tmp PYTHONNOUSERSITE=1
WORKDIR /data
RUN uad models list
ENTRYPOINT ["uad"]
