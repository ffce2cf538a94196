"""SwAV and DeepCluster transcribed into numpy from the authors' released code.

Each says which file it follows. They are slow, plain and float64.
"""

import numpy as np


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def distributed_sinkhorn(out, epsilon, nmb_iters):
    """facebookresearch/swav main_swav.py distributed_sinkhorn, one process; [n k] to [n k]."""
    Q = np.exp(out / epsilon).T
    Q = Q / Q.sum()
    r, c = np.ones(Q.shape[0]) / Q.shape[0], np.ones(Q.shape[1]) / Q.shape[1]
    for _ in range(nmb_iters):
        u = Q.sum(1)
        Q = Q * (r / u)[:, None]
        Q = Q * (c / Q.sum(0))[None]
    return (Q / Q.sum(0, keepdims=True)).T


def swav(output, codes, temperature):
    """main_swav.py train: the loss over crops [v n k], given the codes of the first of them."""
    loss, crops = 0, len(output)
    for crop_id, q in enumerate(codes):
        subloss = 0
        for v in np.delete(np.arange(crops), crop_id):
            p = softmax(output[v] / temperature)
            subloss -= np.mean(np.sum(q * np.log(p), axis=1))
        loss += subloss / (crops - 1)
    return loss / len(codes)


def swav_codes(output, queue, prototypes, embedding, epsilon, nmb_iters):
    """main_swav.py train: codes of the crops [v n k], and the queue [v length d] after them."""
    codes, bs, queue = [], output.shape[1], queue.copy()
    for i in range(len(queue)):
        out = output[i]
        if not np.all(queue[i, -1] == 0):
            out = np.concatenate([queue[i] @ prototypes, out])
        queue[i, bs:] = queue[i, :-bs].copy()
        queue[i, :bs] = embedding[i]
        codes.append(distributed_sinkhorn(out, epsilon, nmb_iters)[-bs:])
    return np.stack(codes), queue


def cluster_memory(embeddings, centroids, nmb_kmeans_iters):
    """facebookresearch/swav main_deepclusterv2.py cluster_memory, from given first centroids."""
    for n_iter in range(nmb_kmeans_iters + 1):
        assignments = (embeddings @ centroids.T).argmax(1)
        if n_iter == nmb_kmeans_iters:
            return centroids, assignments
        centroids = centroids.copy()
        for k in range(len(centroids)):
            mine = assignments == k
            if mine.sum() > 0:
                centroids[k] = embeddings[mine].sum(0) / mine.sum()
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)


def lloyd(x, centroids, iterations):
    """Euclidean k-means from given first centroids, as long as no cluster is empty."""
    for _ in range(iterations):
        labels = ((x[:, None] - centroids[None]) ** 2).sum(-1).argmin(1)
        centroids = np.stack([x[labels == k].mean(0) for k in range(len(centroids))])
    return centroids, ((x[:, None] - centroids[None]) ** 2).sum(-1).argmin(1)


def cross_entropy(logits, labels, weights, ignore_index=-100):
    """torch.nn.CrossEntropyLoss: weighted mean over the labels that are not to be ignored."""
    counts = labels != ignore_index
    log_p = np.log(softmax(logits))[np.arange(len(labels)), np.where(counts, labels, 0)]
    return -(weights * log_p)[counts].sum() / weights[counts].sum()


def preprocess_features(x, pca):
    """facebookresearch/deepcluster clustering.py preprocess_features, by singular values."""
    x = x - x.mean(0)
    _, s, vt = np.linalg.svd(x, full_matrices=False)
    x = x @ vt[:pca].T / (s[:pca] / np.sqrt(len(x)))
    return x / np.linalg.norm(x, axis=1, keepdims=True)
