"""MORE (On Diversified Preferences of Large Language Model Alignment) in plain PyTorch.

python docs/examples/more_in_one_file.py

Three populations share a reward and drift from it; a small reward model learns from pairs of all of
them. Equation numbers are the paper's. Shapes: K populations, N pairs of a batch, B of them per
population, W words of an answer, V vocabulary, H hidden size.
"""

import torch
import torch.nn.functional as F

K, B, W, V, H = 3, 16, 8, 64, 32
STEPS = 300


class RewardModel(torch.nn.Module):
    """The mean of word embeddings through a small network, with a linear head without bias."""

    def __init__(self):
        super().__init__()
        self.trunk = torch.nn.Sequential(
            torch.nn.EmbeddingBag(V, H), torch.nn.Linear(H, H), torch.nn.GELU()
        )
        self.head = torch.nn.Linear(H, 1, bias=False)

    def forward(self, answers):
        """Words `[N, W]` to rewards `[N]` and what the head sees, `[N, H]`."""
        z = self.trunk(answers)
        return self.head(z).squeeze(1), z


def make_populations(drift=0.8):
    """`[K, V]`: the worth of each word to each population, a shared reward plus its drift (4)."""
    return torch.randn(V) + drift * torch.randn(K, V)


def draw_pairs(worth, population, count):
    """Chosen and rejected answers, `[count, W]` each: pairs of random answers, which the population
    compares by Bradley-Terry."""
    pairs = torch.randint(V, (count, 2, W))
    reward = worth[population][pairs].mean(dim=2) * 3
    second_wins = torch.rand(count) < torch.sigmoid(reward[:, 1] - reward[:, 0])
    pairs[second_wins] = pairs[second_wins].flip(1)
    return pairs[:, 0], pairs[:, 1]


def draw_batch(worth):
    """A stratified batch: B pairs of each population, and the population of each pair."""
    parts = [draw_pairs(worth, population, B) for population in range(K)]
    chosen, rejected = (torch.cat(side) for side in zip(*parts, strict=True))
    return chosen, rejected, torch.arange(K).repeat_interleave(B)


def head_gradients(delta, z_chosen, z_rejected, source):
    """`[K, H]`: each population's mean gradient of the ranking loss for the head (8).

    In closed form: for a head r = w . z, a pair's is -sigmoid(-delta) (z_chosen - z_rejected).
    """
    gradient = -torch.sigmoid(-delta)[:, None] * (z_chosen - z_rejected)
    return torch.stack([gradient[source == k].mean(dim=0) for k in range(K)])


def min_norm_weights(gradients, iterations=1_000):
    """lam = argmin || sum_k lam_k g_k ||^2 over the simplex (9), by Frank-Wolfe."""
    gram = (gradients.double() @ gradients.double().T).clone()
    gram /= gram.diagonal().max()
    lam = torch.full((K,), 1 / K, dtype=torch.float64)
    for _ in range(iterations):
        slope = gram @ lam
        vertex = slope.argmin()
        gap = lam @ slope - slope[vertex]
        if gap <= 1e-14:
            break
        # || (1 - s) u + s v ||^2 is least at s = u . (u - v) / || u - v ||^2.
        stride = gap / (lam @ slope - 2 * slope[vertex] + gram[vertex, vertex])
        lam = (1 - stride.clamp(max=1)) * lam
        lam[vertex] += stride.clamp(max=1)
    return lam


def more_loss(model, chosen, rejected, source):
    """The weighted loss (7), lam `[K]` and each population's loss `[K]`."""
    reward_chosen, z_chosen = model(chosen)
    reward_rejected, z_rejected = model(rejected)
    delta = reward_chosen - reward_rejected
    loss = -F.logsigmoid(delta)  # (1)
    with torch.no_grad():
        lam = min_norm_weights(head_gradients(delta, z_chosen, z_rejected, source))
    loss_k = torch.stack([loss[source == k].mean() for k in range(K)])
    return (lam.float() * loss_k).sum(), lam, loss_k.detach()


@torch.no_grad()
def evaluate(model, worth, pairs=2_000):
    """Accuracy per population, and ECE over ten bins of the confidence max(p, 1 - p)."""
    results = []
    for population in range(K):
        chosen, rejected = draw_pairs(worth, population, pairs)
        delta = model(chosen)[0] - model(rejected)[0]
        confidence, right = torch.sigmoid(delta.abs()), (delta > 0).float()
        ece = 0.0
        for low in torch.arange(10) / 10:
            inside = (confidence > low) & (confidence <= low + 0.1)
            if inside.any():
                gap = right[inside].mean() - confidence[inside].mean()
                ece += inside.float().mean().item() * gap.abs().item()
        results.append((right.mean().item(), ece))
    return results


def main():
    torch.manual_seed(0)
    worth, model = make_populations(), RewardModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(STEPS):
        loss, lam, _ = more_loss(model, *draw_batch(worth))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:3}  loss {loss:.3f}  lam {[f'{weight:.2f}' for weight in lam]}")
    for population, (accuracy, ece) in enumerate(evaluate(model, worth)):
        print(f"population {population}  accuracy {accuracy:.3f}  ECE {ece:.3f}")


if __name__ == "__main__":
    main()
