"""Uploads in parts that never came to their end: the server keeps their parts, under no name."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from recorder_worker.adapters.s3.client import S3Place
from recorder_worker.adapters.s3.faults import FAULTS, code_of, explained


def abort_uploads(
    client: Any,  # noqa: ANN401  (botocore makes the class at run time)
    place: S3Place,
    below: str,
    *,
    older_than_s: float | None = None,
) -> int:
    """Abort them below a place's prefix and what is given; gives how many.

    Their age is told by the server's clock alone: ours may be wrong. Raises StoreError.
    """
    begin, aborted = place.prefix + below, 0
    with explained("abort uploads below", f"s3://{place.bucket}/{begin}"):
        listing = client.get_paginator("list_multipart_uploads")
        for page in listing.paginate(Bucket=place.bucket, Prefix=begin):
            for upload in page.get("Uploads", ()):
                if older_than_s is None or _age_s(page, upload) > older_than_s:
                    _abort(client, place.bucket, upload)
                    aborted += 1
    return aborted


def _age_s(page: dict[str, Any], upload: dict[str, Any]) -> float:
    now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
    began = upload["Initiated"]
    return (now - began).total_seconds()  # type: ignore[no-any-return]  # both are datetimes


def _abort(client: Any, bucket: str, upload: dict[str, Any]) -> None:  # noqa: ANN401  (as above)
    try:
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    except FAULTS as error:
        if code_of(error) != "NoSuchUpload":  # else another worker was faster
            raise
