"""chatglm3-6b and chatglm2-6b: original checkpoints converted to native ``glm``, without remote code."""
