"""What the plugin brings, by name. Nothing of it is imported before a configuration names it."""

from suffuse import hookimpl
from suffuse.plugins import Components, Trial


@hookimpl
def suffuse_components() -> Components:
    return {
        "data": {"manual": "suffuse_text.manual:Manual"},
        "decoder": {"letters": "suffuse_text.letters:Letters"},
        "metric": {"words": "suffuse_text.words:Words"},
    }


@hookimpl
def suffuse_trials() -> list[Trial]:
    return [Trial(words=["modality=text", "backbone.width=32"])]
