# Reads data/measurements.csv, fits size = limit / (1 + exp((middle - time) / scale)), and writes
# results/plot.png and results/fit.json. Needs nothing but R itself.

measured <- read.csv("data/measurements.csv")
numeric <- names(measured)[sapply(measured, is.numeric)]
if (length(numeric) < 2) {
  stop("measurements.csv needs two columns of numbers: time, then size")
}
points <- data.frame(time = measured[[numeric[1]]], size = measured[[numeric[2]]])
points <- points[complete.cases(points), ]

model <- nls(size ~ SSlogis(time, limit, middle, scale), points)
found <- coef(model)
error <- sqrt(mean(residuals(model)^2))

dir.create("results", showWarnings = FALSE)
png("results/plot.png", width = 960, height = 640, res = 120, type = "cairo")
par(mar = c(4, 4, 1, 1))
plot(points$time, points$size, pch = 19, col = "#2a6f97", xlab = numeric[1], ylab = numeric[2])
grid <- seq(min(points$time), max(points$time), length.out = 200)
lines(grid, predict(model, data.frame(time = grid)), col = "#c1121f", lwd = 2)
invisible(dev.off())

number <- function(value) format(signif(value, 6), trim = TRUE)
writeLines(
  sprintf(
    '{"limit": %s, "middle": %s, "scale": %s, "error": %s, "points": %d}',
    number(found[["limit"]]), number(found[["middle"]]), number(found[["scale"]]), number(error), nrow(points)
  ),
  "results/fit.json"
)
cat("logistic curve through", nrow(points), "points, root mean square error", number(error), "\n")
