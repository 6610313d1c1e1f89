import argparse

from predict import Predictor

parser = argparse.ArgumentParser()
parser.add_argument("--prompt", default="The vitrine")
options = parser.parse_args()
predictor = Predictor()
predictor.setup()
print(predictor.predict(options.prompt))
