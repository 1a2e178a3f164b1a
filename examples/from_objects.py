"""A run built from objects, with no configuration: the core's parts, put together by hand.

python examples/from_objects.py [STEPS]
"""

import sys
from pathlib import Path

from suffuse.denoiser import Denoiser
from suffuse.guidance import ClassifierFree
from suffuse.processes import Gaussian, JointProcess
from suffuse.sampling import DPMSolver2M, Seeds, karras, sample
from suffuse.schedules import EDM
from suffuse.training import Trainer, TrainerSettings
from suffuse.training.clock import LogNormal
from suffuse.training.objective import Objective
from suffuse.training.weightings import edm
from suffuse_image.backbones.unet import UNet
from suffuse_image.data import Digits
from suffuse_image.decoder import Pixels


def main(steps: int = 500, directory: Path = Path("runs/from-objects")) -> None:
    """Train on digits, then draw eight threes."""
    data, decoder, schedule = Digits(), Pixels(), EDM()
    fields = decoder.fields(data.train)
    process = JointProcess(fields, {name: Gaussian(schedule) for name in fields})
    denoiser = Denoiser(UNet(fields), fields, "edm", data.train.conditions)
    objective = Objective(process, LogNormal(), edm(), "edm", data.train.conditions)
    trainer = Trainer(
        denoiser=denoiser,
        objective=objective,
        train=data.train,
        decoder=decoder,
        directory=directory,
        settings=TrainerSettings(steps=steps),
    )
    trainer.fit()

    seeds = Seeds(0, range(8))
    prior = process.prior({"pixels": (8, 1, 8, 8)}, seeds.at("prior"))
    threes = {"label": data.train.conditions["label"].collate([3] * 8)}
    clean = sample(
        ClassifierFree(trainer.average.model, scale=1.5),
        prior,
        karras(20, schedule),
        DPMSolver2M(),
        process=process,
        seeds=seeds,
        condition=threes,
    )
    decoder.sheet(decoder.decode(clean), ["3"] * 8, directory / "threes.png")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
