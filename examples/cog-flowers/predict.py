# Prediction interface for Cog
from typing import Optional

from cog import BaseModel, BasePredictor, Input, Path
from sklearn.datasets import load_iris
from sklearn.neighbors import KNeighborsClassifier


class Output(BaseModel):
    kind: str
    shares: dict
    table: Optional[Path] = None


class Predictor(BasePredictor):
    def setup(self) -> None:
        """Load the model into memory to make running multiple predictions efficient"""
        flowers = load_iris()
        self.names = [str(name) for name in flowers.target_names]
        self.flowers = flowers
        self.model = KNeighborsClassifier(n_neighbors=9).fit(flowers.data, flowers.target)

    def predict(
        self,
        petal_length: float = Input(description="Length of a petal in cm", default=4.5, ge=0.5, le=8),
        petal_width: float = Input(description="Width of a petal in cm", default=1.4, ge=0.05, le=3),
        sepal_length: float = Input(description="Length of a sepal in cm", default=5.8, ge=4, le=8),
        sepal_width: float = Input(description="Width of a sepal in cm", default=3.0, ge=1.5, le=5),
        with_table: bool = Input(description="Also return the nine most similar flowers", default=False),
    ) -> Output:
        """Run a single prediction on the model"""
        flower = [[sepal_length, sepal_width, petal_length, petal_width]]
        shares = self.model.predict_proba(flower)[0]
        table = None
        if with_table:
            _, similar = self.model.kneighbors(flower)
            table = Path("/tmp/similar.csv")
            lines = [",".join([*self.flowers.feature_names, "kind"])]
            for row in similar[0]:
                kind = self.names[self.flowers.target[row]]
                lines.append(",".join([*map(str, self.flowers.data[row]), kind]))
            table.write_text("\n".join(lines) + "\n")
        return Output(
            kind=self.names[int(shares.argmax())],
            shares={name: round(float(share), 4) for name, share in zip(self.names, shares)},
            table=table,
        )
