"""`heed policy generate | report`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, fault, note, say
from heed_cli.workplace import at_workplace, trainer_settings
from shared.errors import InvalidInput

if TYPE_CHECKING:
    from services.trainer.backbones import ResolvedBackbone
    from services.trainer.policies.page import ReadSample
    from services.trainer.policies.reading import StoredPolicy
    from services.trainer.workplace import Workplace
    from shared.contracts.policy_report import PolicyReport

app = typer.Typer(help="Try a policy, and read its report.", no_args_is_help=True)

Reference = Annotated[str, typer.Argument(help="`policy@3`, `3` or `champion`.")]


@app.command()
def generate(  # noqa: PLR0913 - each is an option of the command
    *,
    model: Annotated[
        str, typer.Option(help="`policy@champion`, `policy@3`, a model folder or a hub id.")
    ] = "policy@champion",
    prompt: Annotated[
        list[str] | None, typer.Option(help="What to respond to; may be given again.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="JSON Lines of prompts; responses come as JSON Lines.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0: the likeliest response; 1: as it was trained.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds write equal responses.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=2, help="Of the longest response.")] = 128,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines, as for a file.")] = False,
    data_dir: DataDir = None,
) -> None:
    """What a policy responds to a prompt, or to every prompt of a file."""
    from services.trainer.policies.trying import Wish, read_prompts, try_policy

    prompts = [*(prompt or []), *(read_prompts(file) if file else [])]
    if not all(one.strip() for one in prompts) or not prompts:
        raise InvalidInput("Give something to respond to: --prompt TEXT, or --file FILE.")
    wish = Wish(temperature, seed, max_tokens, threads)
    for tried in try_policy(_source(model, data_dir), prompts, wish):
        if as_json or file is not None:
            told = {"prompt": tried.prompt, "response": tried.response, "ended": tried.ended}
            say(json.dumps(told, ensure_ascii=False))
            continue
        say(_printable(tried.response))
        if not tried.ended and console.is_terminal:
            note("cut", f"at {max_tokens} tokens; --max-tokens allows more")


@app.command()
def report(
    version: Reference,
    samples: Annotated[
        int, typer.Option(min=0, help="Show so many samples; who reads them is recorded.")
    ] = 0,
    html: Annotated[
        Path | None,
        typer.Option(help="Write the page with the samples' texts here; that is recorded too."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The numbers behind it.")] = False,
    data_dir: DataDir = None,
) -> None:
    """What training changed, beside the policy before, and what is suspicious of it."""
    from services.trainer.policies.page import page
    from services.trainer.policies.reading import find_policy, samples_of, stored_report

    async def read(
        workplace: "Workplace",
    ) -> "tuple[StoredPolicy, PolicyReport, list[ReadSample]]":
        policy = await find_policy(workplace, version)
        texts = await samples_of(workplace, policy) if samples or html else []
        return policy, stored_report(policy), texts

    policy, found, texts = at_workplace(data_dir, read)
    if as_json:
        say(found.model_dump_json(indent=2))
        return
    _show(policy.name, found)
    for one in texts[:samples]:
        _show_sample(one)
    if html is not None:
        html.write_text(page(found, texts, title=policy.name), encoding="utf-8")
        note("written", f"{html}, with texts: keep it as you keep the feedback itself")


def _source(model: str, data_dir: Path | None) -> "ResolvedBackbone":
    """The folder of a registered policy, else of a model by its folder or hub id."""
    from services.trainer.backbones import ResolvedBackbone, resolve_backbone
    from services.trainer.policies.artifact import is_policy, read_policy
    from services.trainer.policies.reading import find_policy, is_version
    from shared.privacy import load_secret

    if not is_version(model):
        found = resolve_backbone(model, option="--model ")
        if is_policy(found.folder):
            read_policy(found.folder, secret=load_secret(trainer_settings(data_dir)))
        return found
    policy = at_workplace(data_dir, lambda workplace: find_policy(workplace, model))
    return ResolvedBackbone(policy.name, policy.folder)


def _show(name: str, report: "PolicyReport") -> None:
    from services.trainer.policies.page import headline, table_rows

    done("policy", f"{name}: {headline(report)}")
    for alarm in report.alarms:
        tell = fault if alarm.severity == "blocks" else note
        tell(alarm.code, alarm.detail)
    if not report.alarms:
        done("alarms", "none")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "before", "after", "change", "95 % interval"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row in table_rows(report):
        table.add_row(*cells(row.name, row.before, row.after, row.change, row.interval))
    console.print(table)
    if report.kl is not None:
        say(f"  {report.kl.value:.2f} ± {report.kl.error:.2f} nats a response from the one before")


def _show_sample(one: "ReadSample") -> None:
    note("sample", one.sample.why.replace("_", " "))
    if one.prompt is None:
        say("    its prompt is no longer there")
        return
    for what, text in (("prompt", one.prompt), ("before", one.before), ("after", one.after)):
        say(f"    {what}: {json.dumps(text, ensure_ascii=False)}")


def _printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
