"""A trained model as an HTTP service: recommend, rank and explain, concurrent requests answered in batches.

    pip install 'peft_pod[serve]'
    python examples/http_service.py --run runs/demo [--port 8000]
    curl -s localhost:8000/recommend -H 'content-type: application/json' -d '{"users": [{"user": "reader-7"}], "k": 5}'

`/docs` describes the requests, their limits included. It answers whoever can reach it: put what checks clients in front
of it.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from body_limit import BodyLimit
from peft_pod.generation import Recommendation, Recommender
from peft_pod.training import process_state
from request_batching import FullError, RequestBatcher

MAX_USERS = 64
MAX_HISTORY = 500
MAX_CANDIDATES = 200
MAX_K = 100
MAX_BODY = 2**21  # bytes: 64 users, each with 500 items of a history and 200 candidates, by IDs of up to 40 characters

Name = Annotated[str, Field(min_length=1, max_length=200)]
History = Annotated[list[Name], Field(min_length=1, max_length=MAX_HISTORY)]
Count = Annotated[int, Field(ge=1, le=MAX_K)]


class Strict(BaseModel):
    """A request in which a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid")


class UserQuestion(Strict):
    """For whom; without a history, after the saved one."""

    user: Name
    history: History | None = None


class RankQuestion(UserQuestion):
    """For whom, and what is ranked."""

    candidates: Annotated[list[Name], Field(min_length=1, max_length=MAX_CANDIDATES)]


class ExplainQuestion(Strict):
    """For whom, and why this item."""

    user: Name
    item: Name


class RecommendRequest(Strict):
    """Some users, and how many items for each."""

    users: Annotated[list[UserQuestion], Field(min_length=1, max_length=MAX_USERS)]
    k: Count = 10
    exclude_seen: bool = True


class RankRequest(Strict):
    """Some users, each with candidates; all of them come back where `k` is left out."""

    users: Annotated[list[RankQuestion], Field(min_length=1, max_length=MAX_USERS)]
    k: Count | None = None


class ExplainRequest(Strict):
    """Pairs of a user and an item."""

    pairs: Annotated[list[ExplainQuestion], Field(min_length=1, max_length=MAX_USERS)]


class Item(BaseModel):
    """An item; the score is the log-probability that the model gives its ID."""

    item_id: str
    title: str
    score: float


class ItemLists(BaseModel):
    """A list of items for each user of the request, in its order."""

    results: list[list[Item]]


class Texts(BaseModel):
    """A sentence for each pair of the request, in its order."""

    results: list[str]


class Health(BaseModel):
    """Whether it answers, and how many batches of each size it has answered."""

    status: str
    waiting: int
    batch_sizes: dict[int, int]


class Service:
    """Answers requests with a recommender.

    Args:
        recommender: answers; used by one thread alone.
        max_wait: seconds that a request waits for others.
        max_waiting: how many users may wait; requests beyond them get status 503.

    Raises:
        ValueError: fewer users may wait than one request may have, which would be refused for ever.
    """

    def __init__(self, recommender: Recommender, *, max_wait: float = 0.005, max_waiting: int = 1024) -> None:
        check_max_waiting(max_waiting)
        self.recommender = recommender
        self.batcher: RequestBatcher[Any, Any] = RequestBatcher(
            self._answer, max_batch=recommender.settings.batch_size, max_wait=max_wait, max_waiting=max_waiting
        )

    async def recommend(self, request: RecommendRequest) -> ItemLists:
        """The k items that each user will most likely take next."""
        self._check_task("sequential")
        for question in request.users:
            self._check_user(question)
        kind = ("recommend", request.k, request.exclude_seen)
        return ItemLists(results=await self._by_history(kind, request.users))

    async def rank(self, request: RankRequest) -> ItemLists:
        """The candidates of each user, best first."""
        for question in request.users:
            self._check_user(question)
            self._check_items(question.candidates)
            if len(set(question.candidates)) != len(question.candidates):
                raise HTTPException(422, f"candidates of user {question.user!r} name an item more than once")
        return ItemLists(results=await self._by_history(("rank", request.k), request.users))

    async def explain(self, request: ExplainRequest) -> Texts:
        """Why each item is for its user."""
        self._check_task("explanation")
        for pair in request.pairs:
            _told(404, self.recommender.catalogue.user_position, pair.user)
            self._check_items([pair.item])
        return Texts(results=await self._ask(("explain",), request.pairs))

    async def health(self) -> Health:
        """Whether the service answers."""
        return Health(status="ok", waiting=self.batcher.waiting, batch_sizes=dict(sorted(self.batcher.sizes.items())))

    async def _by_history(self, kind: tuple[Hashable, ...], questions: list[Any]) -> list[list[Item]]:
        """Ask for those with a history of their own and those without one apart, and put the answers in order."""
        if len({question.history is None for question in questions}) > 1:
            raise HTTPException(422, "give a history for every user of a request, or for none")
        found = await self._ask((*kind, questions[0].history is not None), questions)
        return [[_item(item) for item in items] for items in found]

    async def _ask(self, kind: tuple[Hashable, ...], questions: list[Any]) -> list[Any]:
        try:
            return await self.batcher.ask(kind, questions)
        except ValueError as error:  # such as that nothing is left to recommend
            raise HTTPException(422, str(error)) from error

    def _answer(self, kind: Any, questions: list[Any]) -> list[Any]:
        """Answer a batch; runs in the worker thread."""
        verb, *settings = kind
        users = [question.user for question in questions]
        if verb == "explain":
            return self.recommender.explain(users, [question.item for question in questions])
        histories = [question.history for question in questions] if settings[-1] else None
        if verb == "recommend":
            return self.recommender.recommend(users, histories, k=settings[0], exclude_seen=settings[1])
        candidates = [question.candidates for question in questions]
        return self.recommender.rank(users, candidates, histories, k=settings[0])

    # What cannot be answered is refused before it waits, so that it never disturbs a batch.

    def _check_task(self, task: str) -> None:
        if task not in self.recommender.processor.task_names:
            raise HTTPException(404, f"the model was not trained for the task {task!r}")

    def _check_user(self, question: UserQuestion) -> None:
        # Where inputs do not name users, anybody with a history can be answered.
        if question.history is None or self.recommender.processor.indexing.user_words:
            position = _told(404, self.recommender.catalogue.user_position, question.user)
            if question.history is None:
                _told(422, self.recommender.catalogue.history, position)
        self._check_items(question.history or [])

    def _check_items(self, items: list[str]) -> None:
        for item in items:
            _told(422, self.recommender.catalogue.item_position, item)


def _told(status: int, look_up: Callable[[Any], Any], name: Any) -> Any:
    try:
        return look_up(name)
    except ValueError as error:
        raise HTTPException(status, str(error)) from error


def _item(found: Recommendation) -> Item:
    return Item(item_id=found.item_id, title=found.title, score=found.score)


def check_max_waiting(max_waiting: int) -> None:
    """Check that a whole request may wait.

    Raises:
        ValueError: it may not.
    """
    if max_waiting < MAX_USERS:
        raise ValueError(
            f"max_waiting must be at least {MAX_USERS}, since a request may have so many users, got {max_waiting}"
        )


async def _name_faults(request: Request, error: Any) -> JSONResponse:
    """Say what is wrong with a request, without what was given: NaN and lone surrogates are no JSON to send back."""
    faults = [{name: fault[name] for name in ("type", "loc", "msg")} for fault in error.errors()]
    return JSONResponse({"detail": faults}, status_code=422)


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": "1"})


def make_app(service: Service, *, max_body: int = MAX_BODY) -> FastAPI:
    """The service as an application for any ASGI server, in one process a model.

    Args:
        service: answers.
        max_body: the most bytes of a request's body; larger ones get status 413.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.batcher:
            yield

    about = f"Bodies of requests have at most {max_body} bytes; larger ones get status 413."
    app = FastAPI(title="peft_pod", description=about, lifespan=lifespan)
    app.post("/recommend", response_model=ItemLists)(service.recommend)
    app.post("/rank", response_model=ItemLists)(service.rank)
    app.post("/explain", response_model=Texts)(service.explain)
    app.get("/health", response_model=Health)(service.health)
    app.add_exception_handler(FullError, _refuse)
    app.add_exception_handler(RequestValidationError, _name_faults)
    app.add_middleware(BodyLimit, max_bytes=max_body)
    return app


def main() -> None:
    """Load a run's model and serve it until SIGTERM or Ctrl-C; requests that were taken are answered first."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--run", required=True, help="folder of a run, as given to `peft-pod train --output-dir`")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-wait-ms", type=float, default=5, help="how long a request waits for others")
    parser.add_argument("--max-waiting", type=int, default=1024, help="how many users may wait; more get status 503")
    parser.add_argument("--max-body-bytes", type=int, default=MAX_BODY, help="larger requests get status 413")
    options = parser.parse_args()
    try:
        check_max_waiting(options.max_waiting)  # before a model is loaded
    except ValueError as error:
        parser.error(f"--max-waiting: {error}")
    recommender = Recommender.from_pretrained(Path(options.run) / "model", device=process_state().device)
    service = Service(recommender, max_wait=options.max_wait_ms / 1000, max_waiting=options.max_waiting)
    app = make_app(service, max_body=options.max_body_bytes)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
