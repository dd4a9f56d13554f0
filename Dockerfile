# A container that explains a mounted video:
#
#   docker build -t kgvad .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" kgvad explain video.mp4 --output report.html
#
# The pretrained weights are fetched while the image is built, so the container needs no network.
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
COPY constraints.txt /tmp/constraints.txt
RUN python -m pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
      -c /tmp/constraints.txt /wheels/*.whl \
    && rm -r /wheels /tmp/constraints.txt
ENV KGVAD_HOME=/opt/kgvad/data KGVAD_CACHE=/opt/kgvad/cache
RUN kgvad weights fetch --offline-set && kgvad build-anchors --dataset ucf && chmod -R a+rX /opt/kgvad
ENV KGVAD_OFFLINE=1 HOME=/tmp
USER 1000
WORKDIR /data
ENTRYPOINT ["kgvad"]
CMD ["--help"]
