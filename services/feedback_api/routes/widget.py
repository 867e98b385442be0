"""GET /widget/heed.js: the web component that pages load."""

import gzip
import hashlib
from pathlib import Path

from fastapi import APIRouter, Request, Response

router = APIRouter(tags=["widget"])

SOURCE = (Path(__file__).parents[1] / "widget" / "heed.js").read_bytes()
COMPRESSED = gzip.compress(SOURCE, mtime=0)
HEADERS = {
    "ETag": f'W/"{hashlib.sha256(SOURCE).hexdigest()[:32]}"',
    "Cache-Control": "public, max-age=3600, stale-while-revalidate=86400",
    "Vary": "Accept-Encoding, Origin",
    "X-Content-Type-Options": "nosniff",
    # It is public and the same for everybody, so a page may load it before its origin may post.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@router.get(
    "/widget/heed.js",
    summary="The feedback widget, one module",
    response_class=Response,
    responses={200: {"content": {"text/javascript": {}}}, 304: {"description": "Not modified"}},
)
async def get_widget(request: Request) -> Response:
    """The module that defines `<heed-feedback>` and `<heed-compare>`."""
    if HEADERS["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=HEADERS)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers = HEADERS | {"Content-Encoding": "gzip"}
        return Response(COMPRESSED, media_type="text/javascript", headers=headers)
    return Response(SOURCE, media_type="text/javascript", headers=HEADERS)
