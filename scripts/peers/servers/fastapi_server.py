"""FastAPI under uvicorn, one process per core (fastapi.tiangolo.com/deployment/server-workers).

python fastapi_server.py PORT
"""

import sys

import pipelines
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

app = FastAPI()
pipeline = None if __name__ == "__main__" else pipelines.load()


@app.post("/predict")
async def predict(request: Request) -> Response:
    """Classify the body in a thread, so that the event loop stays free."""
    image = await request.body()
    (answer,) = await run_in_threadpool(pipeline.answer, [image])
    return Response(answer, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        "fastapi_server:app",
        host="127.0.0.1",
        port=int(sys.argv[1]),
        workers=pipelines.WORKERS,
        access_log=False,
        timeout_worker_healthcheck=120,  # importing torch takes longer than its 5 s
    )
