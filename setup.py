"""Everything is in setup.cfg; here only: an installed package carries a copy of the model cards as ``zoo/hub/cards``."""
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithCards(build_py):
    """Copies ``model_cards/*.md`` into the package; an editable install reads them where they are."""

    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False):
            return
        target = Path(self.build_lib, 'zoo', 'hub', 'cards')
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for card in Path(__file__).resolve().parent.glob('model_cards/*.md'):
            shutil.copyfile(card, target / card.name)


setup(cmdclass={'build_py': BuildWithCards})
