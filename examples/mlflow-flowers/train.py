"""Learns to tell three kinds of iris apart, and saves the model with MLflow in `model/`.

pip install mlflow-skinny==3.17.2 scikit-learn==1.9.1 pandas==3.1.1
python train.py
"""

import shutil
from pathlib import Path

import mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TARGET = Path(__file__).with_name("model")
PACKAGES = ["mlflow-skinny==3.17.2", "scikit-learn==1.9.1", "pandas==3.1.1"]


def main() -> None:
    flowers = load_iris(as_frame=True)
    names = flowers.target_names[flowers.target]
    seen, unseen, kinds, answers = train_test_split(flowers.data, names, random_state=0, stratify=names)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(seen, kinds)
    print("right for flowers that it has not seen:", model.score(unseen, answers))
    shutil.rmtree(TARGET, ignore_errors=True)
    mlflow.sklearn.save_model(
        model,
        TARGET,
        signature=infer_signature(seen, model.predict(seen)),
        input_example=unseen.head(2),
        pip_requirements=PACKAGES,
        serialization_format="cloudpickle",
    )


if __name__ == "__main__":
    main()
